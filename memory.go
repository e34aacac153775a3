package main

import (
	"context"
	"math"
	"os"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
	"time"
)

// Go collects garbage each time the heap has doubled, and a gateway's is so small that under load it would do little
// else. So the heap may grow to three times what lives, but memory to no more than smallMemory, or twice what lives
// where that is more: a limit that does not grow with what lives would have the collector run without end. Where much
// lives there is no limit, since then a collection costs much too.
const (
	gcPercent   = 200
	smallMemory = 40 << 20 // bytes; with the program itself, some 20 MiB, it is what the process takes
	muchMemory  = 64 << 20 // bytes that live
	memoryStep  = 8 << 20  // setting a limit stops the world for a moment: not for every byte
)

// followMemory keeps the limit of memory to what lives until ctx ends, and then gives both settings back. Where the
// environment sets GOGC or GOMEMLIMIT it leaves them alone: whoever runs the gateway knows the machine.
func followMemory(ctx context.Context) {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	defer debug.SetGCPercent(debug.SetGCPercent(gcPercent))
	limit := int64(smallMemory)
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(limit))
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		next := memoryLimit(liveMemory())
		if limit != math.MaxInt64 { // it falls slowly: what a hash needs for a moment, the next one needs again
			next = max(next, limit-memoryStep)
		}
		if next != limit {
			limit = next
			debug.SetMemoryLimit(limit)
		}
	}
}

// memoryLimit says how much memory, in bytes, Go may take before it collects garbage more often, by how much of it lives.
func memoryLimit(live uint64) int64 {
	if live >= muchMemory {
		return math.MaxInt64
	}
	return max(smallMemory, int64((2*live+memoryStep-1)/memoryStep*memoryStep))
}

// liveMemory says how many bytes the last collection found in use, and how many stacks take.
func liveMemory() (bytes uint64) {
	samples := []runtimemetrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
	runtimemetrics.Read(samples)
	for _, s := range samples {
		if s.Value.Kind() == runtimemetrics.KindUint64 {
			bytes += s.Value.Uint64()
		}
	}
	return bytes
}
