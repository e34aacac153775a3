package web

import (
	"encoding/base64"
	"errors"

	"sallyport/authflow"
	"sallyport/authflow/cookie"
	"sallyport/authflow/totp"
)

// enroller says who sets an authenticator up: the bearer of a temp token that waits for it, or who is
// signed in.
func (s *Server) enroller(c *call) (authflow.Enroller, error) {
	if token, err := s.challengeToken(cookie.Bearer(c.r)); err == nil {
		return authflow.Enroller{Challenge: &token}, nil
	}
	cur, err := s.current(c.r)
	if err != nil {
		return authflow.Enroller{}, err
	}
	return authflow.Enroller{Current: cur}, nil
}

type proofRequest struct {
	TOTPCode     string `json:"totpCode"`
	RecoveryCode string `json:"recoveryCode"`
}

type setupAnswer struct {
	Secret     string `json:"secret"`
	OtpauthURL string `json:"otpauthUrl"`
	QRCode     string `json:"qrCode"`
}

// apiSetup hands out a new secret. Who has an authenticator already needs a fresh second factor, or a code
// with the call.
func (s *Server) apiSetup(c *call) (any, error) {
	e, proof, client, err := s.setupCall(c)
	if err != nil {
		return nil, err
	}
	begun, err := s.Flow.BeginEnrolment(c.r.Context(), e, proof, "", true, client)
	if err != nil {
		return nil, err
	}
	qr, _, err := qrCode(begun.URL)
	if err != nil {
		return nil, err
	}
	return setupAnswer{begun.Secret, begun.URL, qr}, nil
}

func (s *Server) setupCall(c *call) (authflow.Enroller, *authflow.Proof, authflow.Client, error) {
	var client authflow.Client
	e, err := s.enroller(c)
	if err != nil {
		return e, nil, client, err
	}
	given, err := decode[proofRequest](c)
	if err != nil {
		return e, nil, client, err
	}
	proof, err := readProof(given.TOTPCode, given.RecoveryCode)
	if err != nil {
		return e, nil, client, err
	}
	return e, proof, s.sender(c.r), err
}

// qrCode returns the picture of url as a data: URI, and the width to show it in.
func qrCode(url string) (uri string, width int, err error) {
	png, width, err := totp.QRCode(url)
	return "data:image/png;base64," + base64.StdEncoding.EncodeToString(png), width, err
}

type verifySetupRequest struct {
	Token      string `json:"token"`
	Secret     string `json:"secret"`
	InviteCode string `json:"inviteCode"`
}

type recoveryAnswer struct {
	Success       bool     `json:"success"`
	RecoveryCodes []string `json:"recoveryCodes"`
}

type bearerRecoveryAnswer struct {
	bearerTokens
	RecoveryCodes []string `json:"recoveryCodes"`
}

func (s *Server) apiVerifySetup(c *call) (any, error) {
	e, err := s.enroller(c)
	if err != nil {
		return nil, err
	}
	given, err := decode[verifySetupRequest](c)
	if err != nil {
		return nil, err
	}
	if given.Token == "" {
		return nil, requestError("token is needed: the code that the authenticator app shows.")
	}
	client, err := s.client(c.r)
	if err != nil {
		return nil, err
	}
	if e.Current != nil {
		client.Session = e.Current.Session
	}
	out, err := s.Flow.ConfirmEnrolment(c.r.Context(), e, authflow.Confirmation{
		Code: given.Token, Secret: given.Secret, Invite: given.InviteCode,
	}, client)
	if errors.Is(err, authflow.ErrWrongCode) {
		a := answerFor(err)
		return status{400, failure{Error: a.words, Code: a.code}}, nil
	}
	if err != nil {
		return nil, err
	}
	if out.Session.Bearer {
		tokens, err := s.bearerTokens(out)
		return bearerRecoveryAnswer{tokens, out.RecoveryCodes}, err
	}
	if err := s.setSession(c.w, c.r, out); err != nil {
		return nil, err
	}
	return recoveryAnswer{true, out.RecoveryCodes}, nil
}

// changeCall reads a call of somebody who is signed in that changes their second factor.
func (s *Server) changeCall(c *call) (*authflow.Current, *authflow.Proof, authflow.Client, error) {
	cur, err := s.current(c.r)
	if err != nil {
		return nil, nil, authflow.Client{}, err
	}
	given, err := decode[proofRequest](c)
	if err != nil {
		return nil, nil, authflow.Client{}, err
	}
	proof, err := readProof(given.TOTPCode, given.RecoveryCode)
	return cur, proof, s.sender(c.r), err
}

func (s *Server) apiDisable(c *call) (any, error) {
	cur, proof, client, err := s.changeCall(c)
	if err != nil {
		return nil, err
	}
	if err := s.Flow.Disable(c.r.Context(), cur, proof, client); err != nil {
		return nil, err
	}
	return done, nil
}

func (s *Server) apiNewCodes(c *call) (any, error) {
	cur, proof, client, err := s.changeCall(c)
	if err != nil {
		return nil, err
	}
	codes, err := s.Flow.NewRecoveryCodes(c.r.Context(), cur, proof, client)
	if err != nil {
		return nil, err
	}
	return recoveryAnswer{true, codes}, nil
}

type statusAnswer struct {
	TOTP         bool `json:"totp"`
	RecoveryLeft int  `json:"recoveryCodesLeft"`
	Required     bool `json:"required"`
}

func (s *Server) apiStatus(c *call) (any, error) {
	cur, err := s.current(c.r)
	if err != nil {
		return nil, err
	}
	st, err := s.Flow.Status(c.r.Context(), cur)
	if err != nil {
		return nil, err
	}
	return statusAnswer{st.TOTP, st.RecoveryLeft, st.Required}, nil
}
