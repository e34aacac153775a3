package proxy

import (
	"errors"
	"fmt"
	"net/http"
)

// errNotSignedOut says that the app has signed somebody out whose session at the gateway could not be ended.
var errNotSignedOut = errors.New("the gateway's session could not be ended")

// signsOut says whether the request is for the page with which the app signs people out.
func (v *verdict) signsOut() bool {
	return v.route.signOut != "" && v.path.plain == v.route.signOut
}

// signOutToo ends the gateway's session after the app has signed out. An answer that refuses has signed nobody out.
func (p *passage) signOutToo(res *http.Response) error {
	if p.id == nil || !p.verdict.signsOut() || res.StatusCode >= http.StatusBadRequest {
		return nil
	}
	lines, err := p.gateway.options.SignOut(p.in)
	if err != nil {
		return fmt.Errorf("%w: %w", errNotSignedOut, err)
	}
	for _, line := range lines {
		res.Header.Add("Set-Cookie", line)
	}
	return nil
}
