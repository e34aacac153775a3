package filewatch

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestEveryKindOfChangeShowsInTheState(t *testing.T) {
	folder := t.TempDir()
	path, link, other := filepath.Join(folder, "file"), filepath.Join(folder, "link"), filepath.Join(folder, "other")
	write(t, path, "one")
	write(t, other, "one")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	moment := time.Now().Add(-time.Hour)
	setTime := func(path string) {
		t.Helper()
		if err := os.Chtimes(path, moment, moment); err != nil {
			t.Fatal(err)
		}
	}
	setTime(path)
	setTime(other)
	changes := []struct {
		name   string
		change func() error
	}{
		{"another size", func() error { write(t, path, "three"); setTime(path); return nil }},
		{"another time", func() error { return os.Chtimes(path, time.Now(), time.Now()) }},
		{"a link to another file", func() error {
			setTime(path)
			if err := os.Remove(link); err != nil {
				return err
			}
			return os.Symlink(other, link)
		}},
		{"a file put in its place", func() error {
			write(t, path, "one")
			setTime(path)
			return os.Rename(path, other)
		}},
		{"none any more", func() error { return os.Remove(other) }},
		{"there again", func() error { write(t, other, "one"); return nil }},
	}
	for _, c := range changes {
		before := Look(folder+"/file", link)
		if !before.Same(Look(folder+"/file", link)) {
			t.Errorf("before %s: two looks differ without a change", c.name)
		}
		if err := c.change(); err != nil {
			t.Fatal(err)
		}
		if before.Same(Look(folder+"/file", link)) {
			t.Errorf("%s: not seen", c.name)
		}
	}
	if (State{}).Same(Look(path)) {
		t.Error("no files are the same as one that is missing")
	}
}

func TestAChangeIsToldOnceItHasSettledAndNothingAfterTheEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	write(t, path, "one")
	ctx, stop := context.WithCancel(t.Context())
	told, ended := make(chan State), make(chan struct{})
	go func() {
		defer close(ended)
		Watch(ctx, func(s State) {
			select {
			case told <- s:
			case <-ctx.Done():
			}
		}, path)
	}()
	<-told
	write(t, path, "three")
	for want := Look(path); ; { // what was under way when the file changed may be told first
		if s := <-told; s.Same(want) {
			break
		}
	}
	stop()
	<-ended
}
