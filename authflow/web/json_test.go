package web

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func readCall(body, contentType string) (loginRequest, error) {
	r := httptest.NewRequest(http.MethodPost, "/auth/login", strings.NewReader(body))
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	c := &call{w: httptest.NewRecorder(), r: r}
	if err := c.readBody(); err != nil {
		return loginRequest{}, err
	}
	return decode[loginRequest](c)
}

func TestABodyThatTwoParsersCouldReadDifferentlyIsRefused(t *testing.T) {
	for _, body := range []string{
		`{"username":"a","username":"b"}`, `{"username":"a","USERNAME":"b"}`, `{"Username":"a"}`, `{"username":"a"}{"username":"b"}`, `{"username":"a"} x`,
		`{"username":["a"]}`, `{"username":{}}`, `{"username":0}`, `{"remember":"yes"}`, `[]`, `"x"`, `{"username":"a"`, `{"username":"` + "\xff" + `"}`,
		`{"username":"\ud800"}`, strings.Repeat(`{"a":`, 12000),
	} {
		var refused requestError
		if _, err := readCall(body, "application/json"); !errors.As(err, &refused) {
			t.Errorf("%.60s: %v", body, err)
		}
	}
}

func TestAKeyThatTheCallDoesNotKnowIsLeftAlone(t *testing.T) {
	got, err := readCall(`{"username":"a","deviceName":"phone","extra":{"x":[1,2]}}`, "application/json; charset=utf-8")
	if err != nil || got.Username != "a" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestOnlyJSONIsTakenAndOnlySoMuch(t *testing.T) {
	for _, contentType := range []string{"", "text/plain", "text/plain;x=application/json", "multipart/form-data; boundary=x", "application/jsonp", "application/json, text/plain", ";"} {
		if _, err := readCall(`{}`, contentType); !errors.Is(err, errMediaType) {
			t.Errorf("%q: %v", contentType, err)
		}
	}
	if _, err := readCall("", "text/plain"); !errors.Is(err, errMediaType) {
		t.Errorf("no body, but a type: %v", err)
	}
	if _, err := readCall("", ""); err != nil {
		t.Errorf("no body and no type: %v", err)
	}
	if _, err := readCall(`{"username":"`+strings.Repeat("a", maxBody)+`"}`, "application/json"); !errors.Is(err, errTooLarge) {
		t.Errorf("64 KiB and more: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(`{"username":"a","password":"b","remember":true}`)
	f.Add(`{"Username":"a","username":"b"}`)
	f.Fuzz(func(t *testing.T, body string) {
		got, err := readCall(body, "application/json")
		if err != nil {
			if status := answerFor(err).status; status < 400 || status > 499 {
				t.Fatalf("%q: %v is answered with %d", body, err, status)
			}
			return
		}
		// What was taken means the same to the parser of the standard library, which knows no letter case
		// and takes the last of two.
		var other loginRequest
		if body != "" {
			if err := json.Unmarshal([]byte(body), &other); err != nil {
				t.Fatalf("%q was taken as %+v, and to another parser is %v", body, got, err)
			}
		}
		if other != got {
			t.Fatalf("%q was taken as %+v, and by another parser as %+v", body, got, other)
		}
	})
}
