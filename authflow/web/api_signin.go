package web

import (
	"net/http"

	"sallyport/authflow"
	"sallyport/authflow/cookie"
	"sallyport/authflow/recovery"
	"sallyport/authflow/totp"
)

type loginRequest struct {
	Email    string `json:"email"`
	Username string `json:"username"`
	Password string `json:"password"`
	Remember bool   `json:"remember"`
}

type twoFactorNeeded struct {
	RequiresTwoFactor bool     `json:"requiresTwoFactor"`
	TempToken         string   `json:"tempToken"`
	Methods           []string `json:"available2faMethods"`
}

type setupNeeded struct {
	Requires2FASetup bool   `json:"requires2FASetup"`
	TempToken        string `json:"tempToken"`
	Code             string `json:"code"`
	Error            string `json:"error"`
}

func (s *Server) apiLogin(c *call) (any, error) {
	given, err := decode[loginRequest](c)
	if err != nil {
		return nil, err
	}
	login := given.Username
	if login == "" {
		login = given.Email
	} else if given.Email != "" {
		return nil, requestError("Give either email or username, not both.")
	}
	client, err := s.client(c.r)
	if err != nil {
		return nil, err
	}
	out, err := s.Flow.Password(c.r.Context(), authflow.Attempt{
		Login: login, Password: given.Password, Remember: given.Remember, Client: client,
	})
	if err != nil {
		return nil, err
	}
	if out.Step == authflow.StepDone {
		return s.finishJSON(c, out)
	}
	temp, err := s.Codec.Encode(cookie.Pending, out.Challenge[:])
	if err != nil {
		return nil, err
	}
	if out.Step == authflow.StepEnrol {
		return status{http.StatusForbidden, setupNeeded{true, temp, "2FA_SETUP_REQUIRED", "Two-step sign-in has to be set up first."}}, nil
	}
	return twoFactorNeeded{true, temp, []string{"totp", "recovery"}}, nil
}

type verifyRequest struct {
	TempToken    string `json:"tempToken"`
	TOTPCode     string `json:"totpCode"`
	RecoveryCode string `json:"recoveryCode"`
}

func (s *Server) apiVerify(c *call) (any, error) {
	given, err := decode[verifyRequest](c)
	if err != nil {
		return nil, err
	}
	proof, err := readProof(given.TOTPCode, given.RecoveryCode)
	if err != nil {
		return nil, err
	}
	if proof == nil || given.TempToken == "" {
		return nil, requestError("tempToken is needed, and totpCode or recoveryCode.")
	}
	token, err := s.challengeToken(given.TempToken)
	if err != nil {
		return nil, err
	}
	client, err := s.client(c.r)
	if err != nil {
		return nil, err
	}
	out, err := s.Flow.SecondFactor(c.r.Context(), token, *proof, client)
	if err != nil {
		return nil, err
	}
	return s.finishJSON(c, out)
}

// readProof reads a second factor from its two fields: nil where neither is given. A code of the wrong
// form is a proof that proves nothing.
func readProof(totpCode, recoveryCode string) (*authflow.Proof, error) {
	switch {
	case totpCode != "" && recoveryCode != "":
		return nil, requestError("Give either totpCode or recoveryCode, not both.")
	case totpCode != "":
		code, _ := totp.Code(totpCode)
		return &authflow.Proof{TOTP: code}, nil
	case recoveryCode != "":
		code, _ := recovery.Code(recoveryCode)
		return &authflow.Proof{Recovery: code}, nil
	}
	return nil, nil
}

type refreshRequest struct {
	RefreshToken string `json:"refreshToken"`
}

// apiRefresh hands out new tokens to a bearer client, and to a browser its cookie once more. Which of the
// two asks is told by whether a refresh token came.
func (s *Server) apiRefresh(c *call) (any, error) {
	given, err := decode[refreshRequest](c)
	if err != nil {
		return nil, err
	}
	client, err := s.client(c.r)
	if err != nil {
		return nil, err
	}
	if given.RefreshToken == "" {
		if client.Bearer {
			return nil, requestError("refreshToken is needed in bearer mode.")
		}
		return s.refreshCookie(c)
	}
	raw, err := s.Codec.Decode(cookie.Refresh, given.RefreshToken)
	if err != nil {
		return nil, authflow.ErrUnauthenticated
	}
	b, err := readBearer(raw)
	if err != nil {
		return nil, err
	}
	out, err := s.Flow.Refresh(c.r.Context(), b.token, b.generation, client)
	if err != nil {
		return nil, err
	}
	return s.bearerTokens(out)
}

func (s *Server) refreshCookie(c *call) (any, error) {
	cur, err := s.current(c.r) // notes that the session was used
	if err != nil {
		return nil, err
	}
	if cur.Session.Bearer {
		return nil, requestError("refreshToken is needed in bearer mode.")
	}
	s.Jar.Write(c.w, cookie.Session, s.Jar.Read(c.r, cookie.Session), s.cookieLife(cur.Session))
	return done, nil
}
