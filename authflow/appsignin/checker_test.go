package appsignin

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestAProbeIsRefusedByAnAppThatLooksAtPasswords(t *testing.T) {
	form, basic := startApp(t).ordinary(), startApp(t).withBasic(401, 401)
	saw, err := Probe(t.Context(), &Form{Page: "/login"}, form.App)
	if err != nil || saw != "wiki: the app refuses this name and password: POST /login answered 200 with a login form and no new cookie" {
		t.Errorf("got %q, %v", saw, err)
	}
	if saw, err := Probe(t.Context(), &Basic{Probe: "/me"}, basic.App); err != nil || !strings.Contains(saw, "GET /me answered 401") {
		t.Errorf("got %q, %v", saw, err)
	}
	if name := form.posted.Get("u"); len(name) != len("nobody-0123456789") || name != strings.ToLower(name) || len(form.posted.Get("p")) < 20 {
		t.Errorf("asked as %v", form.posted)
	}
}

func TestAProbeSaysWhatIsWrongWithTheConfiguration(t *testing.T) {
	for name, c := range map[string]struct {
		form   Form
		answer says
		want   string
	}{
		"anything is a yes":   {Form{Success: Answer{Status: []int{200}}, Failure: Answer{Status: []int{401}}}, says{200, "", loginPage}, "a name and a password that nobody has, and took them; say in success and failure"},
		"both hold":           {Form{Success: Answer{Status: []int{200}}}, says{200, "", loginPage}, "fits both"},
		"neither holds":       {Form{Success: Answer{Cookie: "x"}}, says{200, "", "<p>Wrong"}, "fits neither"},
		"the page is not one": {Form{Page: "/nowhere"}, says{}, "GET /nowhere answered 404"},
	} {
		t.Run(name, func(t *testing.T) {
			a := startApp(t).withForm(c.answer.ServeHTTP)
			if c.form.Page == "" {
				c.form.Page = "/login"
			}
			if saw, err := Probe(t.Context(), &c.form, a.App); saw != "" || !errors.Is(err, ErrUnclear) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
	open := startApp(t).withBasic(401, 200)
	if _, err := Probe(t.Context(), &Basic{Probe: "/me"}, open.App); !errors.Is(err, ErrUnclear) {
		t.Errorf("Basic that takes anything: %v", err)
	}
}

// asker is a way to sign in whose answers tests choose.
type asker struct {
	mu     sync.Mutex
	person func(ctx context.Context) error // the answer to alice
	probe  func(ctx context.Context) error // the answer to anybody else
	people int
	probes int
}

func (a *asker) SignIn(ctx context.Context, _ App, name, _ string) (*Result, error) {
	a.mu.Lock()
	answer := a.person
	if name == "alice" {
		a.people++
	} else {
		answer = a.probe
		a.probes++
	}
	a.mu.Unlock()
	if err := answer(ctx); err != nil {
		return nil, err
	}
	return &Result{Cookies: []string{"sid=1; Path=/"}}, nil
}

func accepts(context.Context) error { return nil }
func refuses(context.Context) error { return ErrRefused }

func checkerOf(a *asker, limits Limits) *Checker {
	app := App{Name: "wiki", Now: time.Now}
	return NewChecker(a, func(context.Context) (App, error) { return app, nil }, limits)
}

func TestACheckAgreesWithTheApp(t *testing.T) {
	a := startApp(t).ordinary()
	c := NewChecker(&Form{Page: "/login"}, func(context.Context) (App, error) { return a.App, nil }, Limits{})
	if ok, err := c.Check(t.Context(), "alice", rightPassword); !ok || err != nil {
		t.Errorf("the right password: %t, %v", ok, err)
	}
	if ok, err := c.Check(t.Context(), "alice", "wrong"); ok || err != nil {
		t.Errorf("a wrong one: %t, %v", ok, err)
	}
	if r, err := c.SignIn(t.Context(), "alice", rightPassword); err != nil || len(r.Cookies) != 1 {
		t.Errorf("a sign-in: %v, %v", r, err)
	}
	if ok, err := c.Check(t.Context(), "a\nb", "x"); ok || !errors.Is(err, ErrBadInput) {
		t.Errorf("bad input: %t, %v", ok, err)
	}
}

func TestTheAppIsReachedForTheCallerOrNotAtAll(t *testing.T) {
	type client struct{}
	gone := errors.New("no such upstream")
	c := NewChecker(&asker{person: accepts, probe: refuses}, func(ctx context.Context) (App, error) {
		if ctx.Value(client{}) == nil {
			return App{}, gone
		}
		return App{Now: time.Now}, nil
	}, Limits{})
	if ok, err := c.Check(t.Context(), "alice", "x"); ok || !errors.Is(err, gone) {
		t.Errorf("got %t, %v", ok, err)
	}
	if ok, err := c.Check(context.WithValue(t.Context(), client{}, true), "alice", "x"); !ok || err != nil {
		t.Errorf("got %t, %v", ok, err)
	}
}

func TestAnAppThatTakesAnyPasswordOpensNothing(t *testing.T) {
	a := startApp(t).withForm(says{302, "Location: /home|Set-Cookie: sid=new", ""}.ServeHTTP)
	c := NewChecker(&Form{Page: "/login"}, func(context.Context) (App, error) { return a.App, nil }, Limits{})
	for range 2 {
		ok, err := c.Check(t.Context(), "alice", rightPassword)
		if ok || !errors.Is(err, ErrUnclear) || !strings.Contains(err.Error(), "nobody has, and took them") {
			t.Errorf("got %t, %v", ok, err)
		}
		isClean(t, err)
	}
}

func TestOneRefusedProbeIsEnoughForAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &asker{person: refuses, probe: refuses}
		c := checkerOf(a, Limits{})
		check := func(want bool, probes int) {
			t.Helper()
			if ok, err := c.Check(t.Context(), "alice", "x"); ok != want || err != nil || a.probes != probes {
				t.Errorf("got %t, %v after %d probes, want %d", ok, err, a.probes, probes)
			}
		}
		check(false, 0) // a refusal needs no probe
		a.person = accepts
		check(true, 1)
		time.Sleep(time.Hour - time.Nanosecond)
		check(true, 1)
		time.Sleep(time.Nanosecond)
		check(true, 2)
	})
}

func TestAFailedProbeIsTriedAgainWithTheNextSignIn(t *testing.T) {
	for _, failure := range []error{ErrOutOfReach, ErrUnclear, nil} {
		a := &asker{person: accepts, probe: func(context.Context) error { return failure }}
		c := checkerOf(a, Limits{})
		want := failure
		if failure == nil {
			want = ErrUnclear // it took them
		}
		if ok, err := c.Check(t.Context(), "alice", "x"); ok || !errors.Is(err, want) {
			t.Errorf("%v: got %t, %v", failure, ok, err)
		}
		a.probe = refuses
		if ok, err := c.Check(t.Context(), "alice", "x"); !ok || err != nil || a.probes != 2 {
			t.Errorf("after %v: got %t, %v, %d probes", failure, ok, err, a.probes)
		}
	}
}

func TestSignInsWaitForOneProbeTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &asker{person: accepts, probe: func(context.Context) error { time.Sleep(time.Second); return ErrRefused }}
		c := checkerOf(a, Limits{})
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				if ok, err := c.Check(t.Context(), "alice", "x"); !ok || err != nil {
					t.Errorf("got %t, %v", ok, err)
				}
			})
		}
		all.Wait()
		if a.probes != 1 {
			t.Errorf("%d probes", a.probes)
		}
	})
}

func TestNobodyWaitsLongForTheProbeOfAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &asker{person: accepts, probe: func(context.Context) error { time.Sleep(time.Minute); return ErrRefused }}
		c := checkerOf(a, Limits{})
		var first sync.WaitGroup
		first.Go(func() { c.Check(t.Context(), "alice", "x") })
		defer first.Wait()
		synctest.Wait()
		start := time.Now()
		if ok, err := c.Check(t.Context(), "alice", "x"); ok || !errors.Is(err, ErrBusy) || time.Since(start) != patience {
			t.Errorf("got %t, %v after %s", ok, err, time.Since(start))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if ok, err := c.Check(ctx, "alice", "x"); ok || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %t, %v", ok, err)
		}
	})
}

func TestEightSignInsRunAtOnceAndFewWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := make(chan struct{})
		a := &asker{person: func(context.Context) error { <-free; return ErrRefused }, probe: refuses}
		c := checkerOf(a, Limits{})
		results := make(chan error, 100)
		start := func(n int) {
			for range n {
				go func() {
					_, err := c.Check(t.Context(), "alice", "x")
					results <- err
				}()
			}
			synctest.Wait()
		}
		start(8 + 16)
		if a.people != 8 || len(results) != 0 {
			t.Errorf("%d are under way, %d have ended", a.people, len(results))
		}
		if _, err := c.Check(t.Context(), "alice", "x"); !errors.Is(err, ErrBusy) || err.Error() != "wiki: too many sign-ins are under way at the app" {
			t.Errorf("one more: %v", err)
		}
		began := time.Now()
		for range 16 {
			if err := <-results; !errors.Is(err, ErrBusy) || time.Since(began) != 5*time.Second {
				t.Errorf("one that waited %s: %v", time.Since(began), err)
			}
		}
		start(1)
		close(free)
		for range 9 {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
		if running, waiting := c.turns.Now(); running+waiting != 0 {
			t.Error("places are still taken")
		}
	})
}

func TestAWaiterLeavesWithItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := make(chan struct{})
		a := &asker{person: func(context.Context) error { <-free; return ErrRefused }}
		c := checkerOf(a, Limits{AtOnce: 1, Waiting: 1, Wait: time.Hour})
		go c.Check(t.Context(), "alice", "x")
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error, 1)
		go func() { _, err := c.Check(ctx, "alice", "x"); result <- err }()
		synctest.Wait()
		cancel()
		err := <-result
		if _, waiting := c.turns.Now(); !errors.Is(err, context.Canceled) || waiting != 0 {
			t.Errorf("got %v, %d still wait", err, waiting)
		}
		if _, err := c.Check(ctx, "alice", "x"); !errors.Is(err, context.Canceled) || a.people != 1 {
			t.Errorf("one who had left before: %v", err)
		}
		close(free)
	})
}
