package appsignin

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"unicode"
)

// Basic signs in by HTTP Basic authentication (RFC 7617, in UTF-8).
type Basic struct {
	Probe string // path and query of something that the app answers with 2xx to people who are signed in, and with 401 to others
}

// SignIn is [Method]'s. It asks for the probe's path without credentials first, and that must be answered with 401: a
// path that is open to everybody would take any password. Then it asks with them: 2xx is an acceptance, 401 and 403 are
// refusals, and anything else is [ErrUnclear].
func (b *Basic) SignIn(ctx context.Context, app App, name, password string) (*Result, error) {
	if err := checkInput(app, name, password, false); err != nil {
		return nil, err
	}
	if strings.Contains(name, ":") || strings.ContainsFunc(name+password, unicode.IsControl) {
		return nil, fmt.Errorf("%s: %w: the name holds a colon, or one of them a control character", app.Name, ErrBadInput)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	x := newExchange(app)
	to, inside := app.resolve(app.Origin, b.Probe)
	if !inside {
		return nil, x.unclear("probe", "leads out of the app; set it to a path, such as /api/whoami")
	}
	a, err := x.send(ctx, http.MethodGet, to, http.Header{}, nil)
	if err != nil {
		return nil, err
	}
	a.Body.Close()
	if a.StatusCode != http.StatusUnauthorized {
		return nil, x.unclear(a.to, "without a password answered %d and not 401; set probe to a path that the app opens to nobody without a password", a.StatusCode)
	}
	asking := &http.Request{Header: http.Header{}}
	asking.SetBasicAuth(name, password)
	if a, err = x.send(ctx, http.MethodGet, to, asking.Header, nil); err != nil {
		return nil, err
	}
	a.Body.Close()
	switch {
	case a.StatusCode/100 == 2:
		return x.result(), nil
	case isRefusal(a.StatusCode):
		return nil, fmt.Errorf("%s: %w: %s answered %d", app.Name, ErrRefused, a.to, a.StatusCode)
	}
	return nil, x.unclear(a.to, "with name and password answered %d, neither 2xx nor 401 or 403", a.StatusCode)
}
