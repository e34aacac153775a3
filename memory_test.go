package main

import (
	"context"
	"math"
	"runtime"
	"runtime/debug"
	"testing"
	"testing/synctest"
	"time"
)

func TestMemoryMayGrowToTwiceWhatLivesAndWithoutALimitWhereThatIsMuch(t *testing.T) {
	for live, want := range map[uint64]int64{0: 40 << 20, 20 << 20: 40 << 20, 20<<20 + 1: 48 << 20, 64<<20 - 1: 128 << 20, 64 << 20: math.MaxInt64} {
		if got := memoryLimit(live); got != want {
			t.Errorf("with %d bytes alive: limit %d, want %d", live, got, want)
		}
	}
}

func TestTheLimitOfMemoryFollowsWhatLivesAndIsGivenBack(t *testing.T) {
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	gc := debug.SetGCPercent(100)
	defer debug.SetGCPercent(gc)
	before := debug.SetMemoryLimit(math.MaxInt64)
	defer debug.SetMemoryLimit(before)
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		go followMemory(ctx)
		synctest.Wait()
		if limit := debug.SetMemoryLimit(-1); limit != smallMemory {
			t.Errorf("at the start the limit is %d, want %d", limit, smallMemory)
		}
		much := make([]byte, 100<<20)
		runtime.GC()
		time.Sleep(time.Second)
		synctest.Wait()
		if limit := debug.SetMemoryLimit(-1); limit < 200<<20 {
			t.Errorf("with 100 MiB alive the limit is %d MiB, want 200 or more", limit>>20)
		}
		runtime.KeepAlive(much)
		much = nil
		runtime.GC()
		time.Sleep(time.Second)
		synctest.Wait()
		if limit := debug.SetMemoryLimit(-1); limit > 100<<20 {
			t.Errorf("with little alive again the limit is %d MiB", limit>>20)
		}
		stop()
		synctest.Wait()
		if limit, percent := debug.SetMemoryLimit(-1), debug.SetGCPercent(100); limit != math.MaxInt64 || percent != 100 {
			t.Errorf("at the end the limit is %d and GOGC %d, want them as they were", limit, percent)
		}
	})
}

func TestMemoryIsLeftAloneWhereTheEnvironmentSetsIt(t *testing.T) {
	for _, name := range []string{"GOGC", "GOMEMLIMIT"} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("GOGC", "")
			t.Setenv("GOMEMLIMIT", "")
			t.Setenv(name, "150")
			before := debug.SetMemoryLimit(-1)
			synctest.Test(t, func(t *testing.T) {
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				go followMemory(ctx)
				synctest.Wait()
				if limit := debug.SetMemoryLimit(-1); limit != before {
					t.Errorf("the limit became %d", limit)
				}
			})
		})
	}
}
