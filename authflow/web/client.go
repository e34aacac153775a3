package web

import (
	"encoding/binary"
	"errors"
	"net/http"
	"strings"
	"time"

	"sallyport/authflow"
	"sallyport/authflow/cookie"
	"sallyport/authflow/session"
)

// Identify says who makes a request that is to be proxied: nil and no error where nobody is signed in. An
// error means that it could not be found out, and the answer must be no.
func (s *Server) Identify(r *http.Request) (*session.Identity, error) {
	by, bearer, err := s.opening(r)
	if err != nil {
		return nil, nil
	}
	id, ses, err := s.Flow.Identify(r.Context(), by, bearer)
	if nobody(err) {
		return nil, nil
	}
	if err == nil && ses.Password != nil {
		id.Password = func() (string, bool) { return s.Flow.OwnPassword(ses, by.Token) }
	}
	return id, err
}

// OwnBearer says whether the request carries one of the gateway's tokens as bearer, of whatever kind and live or
// not, which is no upstream's business.
func (s *Server) OwnBearer(r *http.Request) bool {
	token := cookie.Bearer(r)
	if token == "" {
		return false
	}
	if _, err := s.access(token); !errors.Is(err, cookie.ErrInvalid) {
		return true
	}
	for _, kind := range []cookie.Kind{cookie.Refresh, cookie.Pending} {
		if _, err := s.Codec.Decode(kind, token); err == nil {
			return true
		}
	}
	return false
}

// opening returns the token that a request comes with, of an access token or of the session cookie, and whether it is the
// former. An access token of ours that is no longer good does not fall back on a cookie. The errors are those of [nobody].
func (s *Server) opening(r *http.Request) (by session.Opener, bearer bool, err error) {
	if given := cookie.Bearer(r); given != "" {
		token, err := s.access(given)
		switch {
		case errors.Is(err, cookie.ErrInvalid): // somebody else's
		case err != nil || s.Flow.Now().Unix() >= token.ends:
			return session.Opener{}, false, authflow.ErrSessionEnded
		default:
			return token.opener, true, nil
		}
	}
	by, err = s.opener(s.Jar.Read(r, cookie.Session))
	if err != nil {
		return session.Opener{}, false, authflow.ErrUnauthenticated
	}
	return by, false, nil
}

// current returns who is signed in.
func (s *Server) current(r *http.Request) (*authflow.Current, error) {
	by, bearer, err := s.opening(r)
	if err != nil {
		return nil, err
	}
	return s.Flow.Authenticate(r.Context(), by, bearer)
}

// nobody says whether an error of current means that no one is signed in, and not that it is unknown.
func nobody(err error) bool {
	return errors.Is(err, authflow.ErrUnauthenticated) || errors.Is(err, authflow.ErrSessionEnded)
}

// signedIn is current, with nil for nobody; only a fault is an error.
func (s *Server) signedIn(r *http.Request) (*authflow.Current, error) {
	cur, err := s.current(r)
	if nobody(err) {
		return nil, nil
	}
	return cur, err
}

// sender describes the browser or program behind a request, without a look into the store.
func (s *Server) sender(r *http.Request) authflow.Client {
	return authflow.Client{
		Address: s.ClientAddr(r), UserAgent: r.UserAgent(), Device: s.device(r),
		Bearer: strings.EqualFold(r.Header.Get("X-Auth-Strategy"), "bearer"),
	}
}

// client is sender with the session that the browser came with, which a sign-in ends.
func (s *Server) client(r *http.Request) (authflow.Client, error) {
	c := s.sender(r)
	if c.Bearer {
		return c, nil // a program's sign-in ends no browser's session
	}
	cur, err := s.signedIn(r)
	if err != nil {
		return c, err
	}
	if cur != nil && !cur.Session.Bearer {
		c.Session, c.Token = cur.Session, cur.Token
	}
	return c, nil
}

// pending returns the token of the sign-in that waits in this browser.
func (s *Server) pending(r *http.Request) (authflow.ChallengeToken, error) {
	return s.challengeToken(s.Jar.Read(r, cookie.Pending))
}

func (s *Server) challengeToken(envelope string) (authflow.ChallengeToken, error) {
	raw, err := s.Codec.Decode(cookie.Pending, envelope)
	if err != nil {
		return authflow.ChallengeToken{}, authflow.ErrNoChallenge
	}
	return authflow.ChallengeTokenFrom(raw)
}

// setSession gives a browser the session of an outcome and the apps' own, and takes away what it needed to get there.
func (s *Server) setSession(w http.ResponseWriter, r *http.Request, out *authflow.Outcome) error {
	envelope, err := s.Codec.Encode(cookie.Session, out.Token[:])
	if err != nil {
		return err
	}
	if len(r.CookiesNamed(s.Jar.Name(cookie.Session))) > 1 {
		s.Jar.Clear(w, cookie.Session) // one of them was planted, or is left from another configuration
	}
	s.Jar.Write(w, cookie.Session, envelope, s.cookieLife(out.Session))
	if len(r.CookiesNamed(s.Jar.Name(cookie.Pending))) > 0 {
		s.Jar.Clear(w, cookie.Pending)
	}
	if out.Device != nil { // somebody else had the browser before: what they have left at the apps is not this person's
		s.expireAppCookies(w, r, func(string) bool { return true })
	}
	s.signInToApps(w, r, out)
	if out.Device == nil {
		return nil
	}
	device, err := s.Codec.Encode(cookie.Device, out.Device)
	if err != nil {
		return err
	}
	s.Jar.Write(w, cookie.Device, device, authflow.DeviceLifetime)
	return nil
}

// cookieLife is how long a browser keeps the cookie: until it is closed, unless the person asked to be
// kept signed in.
func (s *Server) cookieLife(ses *session.Session) time.Duration {
	if !ses.Remembered {
		return 0
	}
	return time.Unix(ses.EndsAt, 0).Sub(s.Flow.Now())
}

func (s *Server) setPending(w http.ResponseWriter, out *authflow.Outcome) error {
	envelope, err := s.Codec.Encode(cookie.Pending, out.Challenge[:])
	if err != nil {
		return err
	}
	s.Jar.Write(w, cookie.Pending, envelope, 0)
	return nil
}

// bearerTokens are what a bearer client gets. Both carry the session's token, their generation, by which no two
// are the same, and an end, which for a refresh token is the session's.
type bearerTokens struct {
	Success      bool   `json:"success"`
	AccessToken  string `json:"accessToken"`
	RefreshToken string `json:"refreshToken"`
	TokenType    string `json:"tokenType"`
	ExpiresIn    int64  `json:"expiresIn"`
}

func (s *Server) bearerTokens(out *authflow.Outcome) (bearerTokens, error) {
	now := s.Flow.Now()
	ends := min(now.Add(s.Flow.Settings.AccessTokenLifetime).Unix(), out.Session.EndsAt)
	access, err := s.Codec.Encode(cookie.Access, bearer{out.Token, out.Session.Generation, ends}.payload())
	if err != nil {
		return bearerTokens{}, err
	}
	refresh, err := s.Codec.Encode(cookie.Refresh, bearer{out.Token, out.Session.Generation, out.Session.EndsAt}.payload())
	if err != nil {
		return bearerTokens{}, err
	}
	return bearerTokens{Success: true, AccessToken: access, RefreshToken: refresh, TokenType: "Bearer", ExpiresIn: ends - now.Unix()}, nil
}

// bearer is what an access or a refresh token carries.
type bearer struct {
	token      session.Token
	generation int64
	ends       int64 // Unix time
}

func (b bearer) payload() []byte {
	out := binary.BigEndian.AppendUint64(b.token[:], uint64(b.generation))
	return binary.BigEndian.AppendUint64(out, uint64(b.ends))
}

func readBearer(raw []byte) (bearer, error) {
	const size = len(session.Token{})
	if len(raw) != size+16 {
		return bearer{}, authflow.ErrUnauthenticated
	}
	return bearer{
		token:      session.Token(raw[:size]),
		generation: int64(binary.BigEndian.Uint64(raw[size:])),
		ends:       int64(binary.BigEndian.Uint64(raw[size+8:])),
	}, nil
}
