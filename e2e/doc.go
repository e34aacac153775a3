// Package e2e proves from outside what Sallyport promises: it meets the built binary with a real browser, a real
// Redis, a command line and an HTTP client, by means of package harness.
//
// It is not a library and imports nothing of the gateway's: it has only tests, in a module of its own, so that
// what they need stays out of the gateway's go.mod. Real apps behind the gateway are in package apps.
package e2e
