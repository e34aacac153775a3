// Package storetest holds every driver of [store.KV] to the words of that interface.
//
// It is a test suite, not a test double: it opens real stores, and nothing but tests imports it.
package storetest

import (
	"testing"
	"time"

	"sallyport/authflow/store"
)

// settle bounds every wait for something that must happen, such as an expiry. It is far longer than any
// driver needs, so that a busy machine does not fail the suite.
const settle = 30 * time.Second

// Run holds the store that open returns to the contract. open is called once for each promise and closes
// the store with t.Cleanup. It may return handles on one lasting store: the suite never uses a key twice.
func Run(t *testing.T, open func(t *testing.T) store.KV) {
	for name, promise := range map[string]func(*testing.T, store.KV){
		"what was put is got, byte for byte":                  testPutGet,
		"a put replaces value and time to live":               testPutReplaces,
		"a nil value, an empty key and long ones are refused": testLimits,
		"what is returned or handed over is a copy":           testCopies,
		"deleting removes, and deleting nothing is no error":  testDelete,
		"a value expires, and not early":                      testExpiry,
		"a value without a time to live stays":                testNoExpiry,
		"update sees the current value and writes the next":   testUpdate,
		"update with an error writes nothing and returns it":  testUpdateAborts,
		"update loses no write under contention":              testUpdateContention,
		"of many creators exactly one wins":                   testUpdateOneWinner,
		"count adds, never below zero":                        testCount,
		"count does not prolong the window":                   testCountWindow,
		"a counter ends with its window, however often used":  testCountExpires,
		"count loses no step under contention":                testCountContention,
		"counters and values do not pass for one another":     testKinds,
		"renew overwrites the head and creates nothing":       testRenew,
		"renew gives each value its new time to live":         testRenewLife,
		"renew leaves alone what its head does not fit":       testRenewRefuses,
		"renew takes many keys and names the missing ones":    testRenewMany,
		"renew neither tears nor brings back a value":         testRenewRaces,
		"a cancelled context ends every method":               testCancelled,
		"a thousand keys stand side by side":                  testManyKeys,
		"ping answers":                                        testPing,
	} {
		t.Run(name, func(t *testing.T) { promise(t, open(t)) })
	}
}

// RunShared holds two handles on one store to the contract, as two replicas would use them.
func RunShared(t *testing.T, openTwo func(t *testing.T) (a, b store.KV)) {
	t.Run("what one handle writes the other reads", func(t *testing.T) {
		a, b := openTwo(t)
		key := newKey()
		mustPut(t, a, key, "from a", time.Minute)
		wantValue(t, b, key, "from a")
		must(t, b.Delete(t.Context(), key))
		wantGone(t, a, key)
	})
	t.Run("update over two handles loses no write", func(t *testing.T) {
		a, b := openTwo(t)
		incrementInParallel(t, a, b)
	})
	t.Run("of many creators over two handles exactly one wins", func(t *testing.T) {
		a, b := openTwo(t)
		for range 20 {
			createInParallel(t, a, b)
		}
	})
	t.Run("count over two handles hands out every number once", func(t *testing.T) {
		a, b := openTwo(t)
		countInParallel(t, a, b)
	})
	t.Run("renew over two handles neither tears nor brings back a value", func(t *testing.T) {
		a, b := openTwo(t)
		for range 10 {
			renewInParallel(t, a, b)
		}
	})
}
