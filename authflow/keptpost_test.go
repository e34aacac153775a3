package authflow

import (
	"bytes"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/authflow/audit"
	"sallyport/authflow/session"
)

const alice, bob = "file:alice", "file:bob"

// draft is a form post whose body holds every byte and spans several records.
func draft(size int) Post {
	body := make([]byte, size)
	for i := range body {
		body[i] = byte(i * 7)
	}
	return Post{Host: "wiki.test", Target: "/edit?page=a", ContentType: "multipart/form-data; boundary=x", Referer: "http://wiki.test/edit", Body: body}
}

// with is a client that sends a device cookie.
func with(device []byte) Client {
	client := here
	client.Device = device
	return client
}

// keep keeps a post and returns its token.
func (f *fixture) keep(device []byte, subject string, post Post) string {
	f.Helper()
	if err := f.KeepPost(f.Context(), subject, post, with(device)); err != nil {
		f.Fatal(err)
	}
	posts := f.kept(subject, device)
	if len(posts) == 0 {
		f.Fatal("nothing is kept")
	}
	return posts[len(posts)-1].Token
}

func (f *fixture) kept(subject string, device []byte) []KeptPost {
	f.Helper()
	posts, err := f.KeptPosts(f.Context(), subject, device)
	if err != nil {
		f.Fatal(err)
	}
	return posts
}

func (f *fixture) take(subject string, device []byte, token string) (*Post, error) {
	return f.TakePost(f.Context(), subject, token, "wiki.test", "/edit?page=a", with(device))
}

func TestAKeptPostComesBackByteForByteAndOnce(t *testing.T) {
	f := newFixture(t, false)
	device := newDevice(alice)
	for _, size := range []int{0, 1, keptPiece, keptPiece + 1, 1 << 20, 2<<20 + 17} {
		sent := draft(size)
		token := f.keep(device, alice, sent)
		got, err := f.take(alice, device, token)
		if err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		if !bytes.Equal(got.Body, sent.Body) || got.ContentType != sent.ContentType || got.Referer != sent.Referer {
			t.Errorf("%d bytes come back as %d, %q, %q", size, len(got.Body), got.ContentType, got.Referer)
		}
		_, err = f.take(alice, device, token)
		f.wants(err, ErrNotKept, "taking it again")
	}
	if posts := f.kept(alice, device); len(posts) != 0 {
		t.Errorf("%d posts are left", len(posts))
	}
}

func TestOfManyWhoTakeAKeptPostOneGetsIt(t *testing.T) {
	f := newFixture(t, false)
	device := newDevice(alice)
	token := f.keep(device, alice, draft(keptPiece+1))
	var mu sync.Mutex
	var all sync.WaitGroup
	won := 0
	for range 8 {
		all.Go(func() {
			_, err := f.take(alice, device, token)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
			} else if !errors.Is(err, ErrNotKept) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if won != 1 {
		t.Errorf("%d got it", won)
	}
}

func TestAKeptPostIsForOnePersonOneBrowserAndOneAddress(t *testing.T) {
	f := newFixture(t, false)
	device := newDevice(alice)
	token := f.keep(device, alice, draft(10))
	// Bob's cookie over the random part of Alice's: were the two ever to meet, the seal holds.
	forged := append(bytes.Clone(newDevice(bob)[:deviceOwner]), device[deviceOwner:]...)
	for name, who := range map[string]struct {
		subject string
		device  []byte
	}{
		"another person, the same browser":           {bob, device},
		"another person under the same browser name": {bob, forged},
		"the same person, another browser":           {alice, newDevice(alice)},
		"no browser":                                 {alice, nil},
		"nobody":                                     {"", device},
	} {
		if posts := f.kept(who.subject, who.device); len(posts) != 0 {
			t.Errorf("%s: sees %d posts", name, len(posts))
		}
		_, err := f.take(who.subject, who.device, token)
		f.wants(err, ErrNotKept, name)
		f.wants(f.DropPost(t.Context(), who.subject, token, with(who.device)), ErrNotKept, name+", dropping")
	}
	_, err := f.TakePost(t.Context(), alice, token, "shop.test", "/edit?page=a", with(device))
	f.wants(err, ErrNotKept, "another host")
	_, err = f.TakePost(t.Context(), alice, token, "wiki.test", "/edit?page=b", with(device))
	f.wants(err, ErrNotKept, "another address")
	_, err = f.take(alice, device, "wrong")
	f.wants(err, ErrNotKept, "another token")
	if _, err = f.take(alice, device, token); err != nil {
		t.Errorf("its own person: %v", err)
	}
}

func TestPostsAreKeptOnlyForABrowserThatIsKnown(t *testing.T) {
	device := newDevice(alice)
	for _, c := range []struct {
		device []byte
		id     *session.Identity
		want   bool
	}{
		{device, nil, true},
		{device, &session.Identity{Subject: alice}, true},
		{device, &session.Identity{Subject: bob}, false},
		{nil, nil, false},
		{nil, &session.Identity{Subject: alice}, false},
		{device[1:], nil, false},
	} {
		if got := MayKeep(c.device, c.id); got != c.want {
			t.Errorf("%x for %v: %v", c.device, c.id, got)
		}
	}
}

func TestAKeptPostWaitsAQuarterOfAnHour(t *testing.T) {
	f := newFixture(t, false)
	device := newDevice(alice)
	token := f.keep(device, alice, draft(10))
	f.pass(KeptFor - time.Second)
	if posts := f.kept(alice, device); len(posts) != 1 {
		t.Fatalf("%d posts are kept shortly before the end", len(posts))
	}
	f.pass(time.Second)
	if posts := f.kept(alice, device); len(posts) != 0 {
		t.Errorf("%d posts are kept at the end", len(posts))
	}
	_, err := f.take(alice, device, token)
	f.wants(err, ErrNotKept, "at the end")
}

func TestABrowserKeepsAFewPostsAndTheOldestGoesFirst(t *testing.T) {
	f := newFixture(t, false)
	device := newDevice(alice)
	first := f.keep(device, alice, draft(1))
	for range keptPerBrowser {
		f.pass(time.Minute)
		f.keep(device, alice, draft(1))
	}
	posts := f.kept(alice, device)
	if len(posts) != keptPerBrowser || posts[0].KeptAt >= posts[1].KeptAt {
		t.Errorf("kept: %+v", posts)
	}
	_, err := f.take(alice, device, first)
	f.wants(err, ErrNotKept, "the oldest")
	last := posts[len(posts)-1].Token
	if err := f.DropPost(t.Context(), alice, last, with(device)); err != nil {
		t.Error(err)
	}
	f.wants(f.DropPost(t.Context(), alice, last, with(device)), ErrNotKept, "dropping it again")
	if got := len(f.kept(alice, device)); got != keptPerBrowser-1 {
		t.Errorf("%d are left after one was dropped", got)
	}
}

func TestADumpOfTheStoreShowsNothingOfAKeptPost(t *testing.T) {
	f := newFixture(t, false)
	device := newDevice(alice)
	post := draft(0)
	post.Body = bytes.Repeat([]byte("comment=what+I+typed&"), keptPiece/20)
	token := f.keep(device, alice, post)
	for _, secret := range []string{"what+I+typed", "/edit?page=a", "wiki.test", "multipart", token} {
		if bytes.Contains(f.dump(), []byte(secret)) {
			t.Errorf("%q can be read in the store", secret)
		}
	}
}

func TestWhatBecomesOfAKeptPostIsOnTheTrailWithoutThePostItself(t *testing.T) {
	f := newFixture(t, false)
	device := newDevice(alice)
	var log bytes.Buffer
	f.Trail = &audit.Trail{Log: slog.New(slog.NewTextHandler(&log, nil))}
	const whose = " subject=file:alice address=192.0.2.1"
	for _, step := range []struct {
		does string
		do   func() error
		want []string
	}{
		{"nobody signed in sends one", func() error { return f.KeepPost(t.Context(), "", draft(1), with(device)) }, []string{"event=form_kept address=192.0.2.1"}},
		{"who has one factor sends more than a browser keeps", func() error {
			for range keptPerBrowser {
				f.keep(device, alice, draft(1))
			}
			return nil
		}, append(slices.Repeat([]string{"event=form_kept" + whose}, keptPerBrowser), "event=form_dropped"+whose+` reason="too many are kept"`)},
		{"one is sent", func() error { _, err := f.take(alice, device, f.kept(alice, device)[0].Token); return err }, []string{"event=form_sent" + whose}},
		{"one is dropped", func() error { return f.DropPost(t.Context(), alice, f.kept(alice, device)[0].Token, with(device)) }, []string{"event=form_dropped" + whose}},
		{"one is sent that is not there", func() error {
			if _, err := f.take(alice, device, "wrong"); !errors.Is(err, ErrNotKept) {
				return err
			}
			return nil
		}, nil},
	} {
		log.Reset()
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.does, err)
		}
		var got []string
		for line := range strings.Lines(log.String()) {
			_, event, _ := strings.Cut(strings.TrimSpace(line), "level=INFO msg=audit ")
			got = append(got, event)
		}
		if !slices.Equal(got, step.want) {
			t.Errorf("%s: the trail says %q, want %q", step.does, got, step.want)
		}
	}
}
