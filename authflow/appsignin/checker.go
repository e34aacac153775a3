package appsignin

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sallyport/authflow/turns"
	"strings"
	"time"
)

// probeFor is how long an app that was seen to refuse a password is trusted to go on with it.
const probeFor = time.Hour

// Probe tries a name and a password that nobody has, both random, and says what the app answered. The error is nil where
// the app refuses them: [ErrUnclear] where it takes them or success and failure cannot be told apart, and else as that of
// [Method.SignIn].
func Probe(ctx context.Context, method Method, app App) (saw string, err error) {
	_, err = method.SignIn(ctx, app, "nobody-"+strings.ToLower(rand.Text()[:10]), rand.Text())
	switch {
	case err == nil:
		return "", fmt.Errorf("%s: %w: it was asked about a name and a password that nobody has, and took them; say in success and failure what it answers", app.Name, ErrUnclear)
	case errors.Is(err, ErrRefused):
		return err.Error(), nil
	}
	return "", err
}

// Limits bound the work of a [Checker]. A field that is 0 has its default.
type Limits struct {
	AtOnce  int           // sign-ins under way at the same time; 8
	Waiting int           // callers that wait for their turn; 16
	Wait    time.Duration // how long each of them waits; 5s
}

// Checker asks one app about people's passwords, within limits. It believes no acceptance before the app has refused a
// random password ([Probe]) within the last hour: an app that takes any, or a configuration that takes any answer for a
// yes, must open nothing.
//
// It may be used by any number of goroutines at once.
type Checker struct {
	method  Method
	reach   func(context.Context) (App, error)
	turns   *turns.Turns
	probing chan struct{} // one probe at a time; holds trusted
	trusted time.Time     // until when no probe is needed
}

// NewChecker returns a Checker. It asks reach for the app with the context of each call, which may say for whom the app
// is asked.
func NewChecker(method Method, reach func(context.Context) (App, error), limits Limits) *Checker {
	return &Checker{
		method:  method,
		reach:   reach,
		turns:   turns.New(turns.Limits{AtOnce: cmp.Or(limits.AtOnce, 8), Waiting: cmp.Or(limits.Waiting, 16), Wait: cmp.Or(limits.Wait, 5*time.Second)}),
		probing: make(chan struct{}, 1),
	}
}

// Check says whether the app takes a name and a password. An error means that nothing is known of them; it is one of
// [ErrUnclear], [ErrOutOfReach], [ErrBadInput], [ErrBusy], or that of ctx or of reach.
func (c *Checker) Check(ctx context.Context, name, password string) (bool, error) {
	_, err := c.SignIn(ctx, name, password)
	if errors.Is(err, ErrRefused) {
		return false, nil
	}
	return err == nil, err
}

// SignIn is the method's, within the limits and with the probe. A sign-in takes no more than the wait for its turn and
// 10 seconds; one that is accepted while the app has yet to be probed, up to 20 more.
func (c *Checker) SignIn(ctx context.Context, name, password string) (*Result, error) {
	app, err := c.reach(ctx)
	if err != nil {
		return nil, err
	}
	done, err := c.turns.Take(ctx)
	if errors.Is(err, turns.ErrBusy) {
		return nil, fmt.Errorf("%s: %w", app.Name, ErrBusy)
	}
	if err != nil {
		return nil, err
	}
	defer done()
	result, err := c.method.SignIn(ctx, app, name, password)
	if err != nil {
		return nil, err
	}
	if err := c.trust(ctx, app); err != nil {
		return nil, err
	}
	return result, nil
}

// trust probes the app where that has not been done for an hour. A probe that fails is forgotten: the next acceptance
// needs another.
func (c *Checker) trust(ctx context.Context, app App) error {
	timeout := time.NewTimer(patience) // a probe that many wait for may take as long for each of them
	defer timeout.Stop()
	select {
	case c.probing <- struct{}{}:
	case <-timeout.C:
		return fmt.Errorf("%s: %w", app.Name, ErrBusy)
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-c.probing }()
	if app.Now().Before(c.trusted) {
		return nil
	}
	if _, err := Probe(ctx, c.method, app); err != nil {
		return fmt.Errorf("a yes was not believed: %w", err)
	}
	c.trusted = app.Now().Add(probeFor)
	return nil
}
