package proxy

import (
	"container/list"
	"sync"
	"time"
)

// vigils are those of a gateway, in the order in which they are to be looked at: each of them lookEvery after it was added.
// Every request has one, and few are under way for that long, so that a timer of its own would be set and stopped for
// nothing. Its methods are called from many goroutines. The zero value is ready, and has neither a timer nor a goroutine
// while there are no requests.
type vigils struct {
	mu    sync.Mutex
	turns list.List   // of *vigil
	timer *time.Timer // nil: there were none
}

// add gives a vigil its next turn. It has none now.
func (all *vigils) add(v *vigil, now time.Time) {
	all.mu.Lock()
	defer all.mu.Unlock()
	v.due, v.turn = now.Add(lookEvery), all.turns.PushBack(v)
	if all.timer == nil {
		all.timer = time.AfterFunc(lookEvery, all.look)
	}
}

// remove takes a vigil's turn away, where it has one.
func (all *vigils) remove(v *vigil) {
	all.mu.Lock()
	defer all.mu.Unlock()
	if v.turn != nil {
		all.turns.Remove(v.turn)
		v.turn = nil
	}
}

// look has those look whose turn it is, each by itself, for a look may wait for the store.
func (all *vigils) look() {
	all.mu.Lock()
	defer all.mu.Unlock()
	now := time.Now()
	for first := all.turns.Front(); first != nil; first = all.turns.Front() {
		v := first.Value.(*vigil)
		if v.due.After(now) {
			all.timer.Reset(v.due.Sub(now))
			return
		}
		all.turns.Remove(first)
		v.turn = nil
		go v.look() // ends with the look
	}
	all.timer = nil
}
