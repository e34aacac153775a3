package password

import (
	"runtime/metrics"
	"time"
)

// A hash has a processor for itself for tens of milliseconds, and meanwhile requests wait. So the turn it was done in
// rests afterwards: restFor times as long as goroutines waited for a processor, all together, while it was computed,
// and mostRest times as long as it took at most. On an idle machine nobody waits, and hash follows on hash. Under
// the heaviest traffic each turn still hashes for a sixth of the time, so that everybody who signs in gets their turn.
const (
	restFor  = 4
	mostRest = 5
)

// rest says how long a turn rests after a hash that took some time and made others wait.
func rest(took, waited time.Duration) time.Duration {
	return max(min(restFor*waited, mostRest*took), 0)
}

// waited says how long goroutines of this process have waited so far for a processor to run on, all together. It sees
// load of any kind: forwarded requests, forward-auth, TLS, other programs on the same machine. The runtime looks at a
// fixed part of the goroutines only, an eighth at present, so this is a measure and no exact time; restFor was found with it.
func waited() time.Duration {
	sample := []metrics.Sample{{Name: "/sched/latencies:seconds"}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindFloat64Histogram {
		return 0 // a runtime that does not say: hash without rest
	}
	h := sample[0].Value.Float64Histogram()
	seconds := 0.0
	for i, n := range h.Counts {
		seconds += float64(n) * max(h.Buckets[i], 0) // a bucket begins there; the first at -Inf
	}
	return time.Duration(seconds * float64(time.Second))
}
