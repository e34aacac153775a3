// Package e2e proves from outside what Sallyport promises: it builds the binary, starts it with a
// configuration, and meets it with a real browser, a real Redis, a command line and an HTTP client.
//
// It is not a library and imports nothing of the gateway's: it has only tests, in a module of its own, so that
// what they need stays out of the gateway's go.mod.
package e2e
