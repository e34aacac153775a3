package web

import (
	"time"
)

type meAnswer struct {
	ID        string   `json:"id"`
	Subject   string   `json:"sub"`
	Username  string   `json:"username"`
	Email     string   `json:"email"`
	Name      string   `json:"name"`
	Groups    []string `json:"groups"`
	Enrolled  bool     `json:"isTotpEnabled"`
	AMR       []string `json:"amr"`
	ExpiresAt string   `json:"expiresAt"`
}

func (s *Server) apiMe(c *call) (any, error) {
	cur, err := s.current(c.r)
	if err != nil {
		return nil, err
	}
	enrolled, err := s.Flow.Enrolled(c.r.Context(), cur.User.Subject)
	if err != nil {
		return nil, err
	}
	u := cur.User
	return meAnswer{
		ID: u.Subject, Subject: u.Subject, Username: u.Username, Email: u.Email, Name: u.Name,
		Groups: append([]string{}, u.Groups...), Enrolled: enrolled, AMR: cur.Session.AMR, ExpiresAt: stamp(cur.Session.EndsAt),
	}, nil
}

// stamp writes a time for programs (RFC 3339).
func stamp(unix int64) string { return time.Unix(unix, 0).UTC().Format(time.RFC3339) }

type sessionAnswer struct {
	Handle       string `json:"sessionHandle"`
	CreatedAt    string `json:"createdAt"`
	LastActiveAt string `json:"lastActiveAt"`
	ExpiresAt    string `json:"expiresAt"`
	Address      string `json:"ipAddress"`
	UserAgent    string `json:"userAgent"`
	Current      bool   `json:"current"`
}

type sessionsAnswer struct {
	Sessions []sessionAnswer `json:"sessions"`
}

func (s *Server) apiSessions(c *call) (any, error) {
	cur, err := s.current(c.r)
	if err != nil {
		return nil, err
	}
	list, err := s.Flow.Sessions.List(c.r.Context(), cur.User.Subject)
	if err != nil {
		return nil, err
	}
	out := sessionsAnswer{Sessions: []sessionAnswer{}}
	for _, ses := range list {
		out.Sessions = append(out.Sessions, sessionAnswer{
			Handle: ses.Handle(), CreatedAt: stamp(ses.SignedInAt), LastActiveAt: stamp(ses.SeenAt), ExpiresAt: stamp(ses.EndsAt),
			Address: ses.Address, UserAgent: ses.UserAgent, Current: ses.Key == cur.Session.Key,
		})
	}
	return out, nil
}

func (s *Server) apiRevoke(c *call, handle string) (any, error) {
	cur, err := s.current(c.r)
	if err != nil {
		return nil, err
	}
	if err := s.Flow.Revoke(c.r.Context(), cur, handle, s.sender(c.r)); err != nil {
		return nil, err
	}
	return done, nil
}

type changePasswordRequest struct {
	Current string `json:"currentPassword"`
	New     string `json:"newPassword"`
}

func (s *Server) apiChangePassword(c *call) (any, error) {
	cur, err := s.current(c.r)
	if err != nil {
		return nil, err
	}
	given, err := decode[changePasswordRequest](c)
	if err != nil {
		return nil, err
	}
	if given.Current == "" || given.New == "" {
		return nil, requestError("currentPassword and newPassword are needed.")
	}
	if err := s.Flow.ChangePassword(c.r.Context(), cur, given.Current, given.New, s.sender(c.r)); err != nil {
		return nil, err
	}
	return done, nil
}
