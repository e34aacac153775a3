// Package harness is what the tests of the built binary share: it builds the binary, starts it with a
// configuration, and meets it with a real browser, a real Redis, an upstream that keeps a journal, and an HTTP client.
//
// It knows nothing of the gateway's code and judges nothing but what every test would: that a step of a person's
// or a program's went as it must. What it starts ends with the test that started it.
package harness
