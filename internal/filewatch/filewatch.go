// Package filewatch tells when files have changed, without reading them.
//
// It asks the file system again and again, because a notification would miss what editors, links and network file
// systems do to a file. It does not judge what the files hold.
package filewatch

import (
	"context"
	"io/fs"
	"os"
	"slices"
	"time"
)

// State is what the file system says of some files at one moment. The zero State is of no files.
type State []fs.FileInfo // nil for a file that cannot be seen

// Look returns the state of the files at paths. Symbolic links are followed.
func Look(paths ...string) State {
	s := make(State, len(paths))
	for i, path := range paths {
		if info, err := os.Stat(path); err == nil {
			s[i] = info
		}
	}
	return s
}

// Same says whether nothing points to a change between the two looks.
func (s State) Same(other State) bool {
	return slices.EqualFunc(s, other, func(a, b fs.FileInfo) bool {
		if a == nil || b == nil {
			return a == b
		}
		return a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size() && os.SameFile(a, b)
	})
}

// Interval is the time between two looks.
const Interval = 200 * time.Millisecond

// Watch looks at the files at each interval, and calls settled with what it saw whenever two looks in a row have found
// the same: files that are being written do not settle, and a change has settled within twice the interval. It
// returns when ctx ends.
func Watch(ctx context.Context, settled func(State), paths ...string) {
	ticker := time.NewTicker(Interval)
	defer ticker.Stop()
	last := Look(paths...)
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			now := Look(paths...)
			if now.Same(last) {
				settled(now)
			}
			last = now
		}
	}
}
