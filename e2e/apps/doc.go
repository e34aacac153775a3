// Package apps proves that apps which know nothing of Sallyport work behind it, and that their pages in docs/apps
// say how: each is started as its page says, and used through the gateway in a real browser. httpbin, which has no
// page, is asked for everything that HTTP knows, and its answers compared with those that it gives directly.
//
// It is not a library: it has only tests.
package apps
