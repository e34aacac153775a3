package web

import (
	"errors"
	"io"
	"mime"
	"net/http"

	"github.com/go-json-experiment/json"

	"sallyport/authflow"
)

// maxBody bounds the body of every request to the pages and the API, in bytes.
const maxBody = 64 << 10

// call is one request to the JSON API.
type call struct {
	w    http.ResponseWriter
	r    *http.Request
	body []byte
}

// status is a JSON answer of a status other than 200.
type status struct {
	code int
	body any
}

// api turns an action of the JSON API into a handler.
func (s *Server) api(action func(*call) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c := &call{w: w, r: r}
		err := c.readBody()
		var body any
		if err == nil {
			body, err = action(c)
		}
		if err != nil {
			a := s.explain(w, r, err)
			writeJSON(w, a.status, failure{Error: a.words, Code: a.code})
			return
		}
		if other, ok := body.(status); ok {
			writeJSON(w, other.code, other.body)
			return
		}
		writeJSON(w, http.StatusOK, body)
	}
}

func writeJSON(w http.ResponseWriter, code int, body any) {
	raw, err := json.Marshal(body)
	if err != nil {
		code, raw = http.StatusInternalServerError, []byte(`{"error":"Something went wrong in the gateway.","code":"INTERNAL"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	w.Write(append(raw, '\n'))
}

// readBody reads a bounded body, which must be application/json where there is one or where a type is named.
func (c *call) readBody() error {
	if c.r.Method == http.MethodGet || c.r.Method == http.MethodHead {
		return nil
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, maxBody))
	if err != nil {
		return bodyError(err)
	}
	if (len(body) > 0 || c.r.Header.Get("Content-Type") != "") && mediaType(c.r) != "application/json" {
		return errMediaType
	}
	c.body = body
	return nil
}

func bodyError(err error) error {
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return errTooLarge
	}
	return requestError("The body could not be read.")
}

// mediaType returns the type of the body; one that is malformed, or named twice, is none.
func mediaType(r *http.Request) string {
	values := r.Header.Values("Content-Type")
	if len(values) != 1 {
		return ""
	}
	t, _, err := mime.ParseMediaType(values[0])
	if err != nil {
		return ""
	}
	return t
}

// decode reads the body of a call into T; no body is the zero value. Duplicate keys, trailing data and
// wrong types are errors, and so is a key that is known but for its letter case: two parsers that read it
// differently would see two requests. Other unknown keys are left alone.
func decode[T comparable](c *call) (T, error) {
	var exact, folded T
	if len(c.body) == 0 {
		return exact, nil
	}
	if err := json.Unmarshal(c.body, &exact); err != nil {
		return exact, requestError("The body is not the JSON that this call takes: an object with each key once, of the right types, and nothing after it.")
	}
	if err := json.Unmarshal(c.body, &folded, json.MatchCaseInsensitiveNames(true)); err != nil || folded != exact {
		return exact, requestError("The body holds a key in another letter case than this call takes.")
	}
	return exact, nil
}

// success is the answer of a call that has nothing else to say.
type success struct {
	Success bool `json:"success"`
}

var done = success{Success: true}

// finishJSON gives a program what a finished sign-in has earned: a cookie, or tokens in bearer mode.
func (s *Server) finishJSON(c *call, out *authflow.Outcome) (any, error) {
	if out.Session.Bearer {
		return s.bearerTokens(out)
	}
	if err := s.setSession(c.w, c.r, out); err != nil {
		return nil, err
	}
	return done, nil
}
