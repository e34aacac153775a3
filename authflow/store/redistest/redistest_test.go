package redistest

import (
	"net"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func TestAServerStopsComesBackAtItsAddressAndEndsWithTheTest(t *testing.T) {
	var addr string
	t.Run("while the test runs", func(t *testing.T) {
		s := Start(t)
		addr = s.Addr
		c := redis.NewClient(&redis.Options{Addr: addr})
		defer c.Close()
		if err := c.Ping(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		s.Stop()
		wantClosed(t, addr)
		s.Restart()
		if err := c.Ping(t.Context()).Err(); err != nil {
			t.Fatalf("after Restart: %v", err)
		}
	})
	wantClosed(t, addr)
}

func TestAPausedServerAnswersOnlyAfterResume(t *testing.T) {
	s := Start(t)
	s.Pause()
	if err := s.ping(); err == nil {
		t.Error("answered while paused")
	}
	s.Resume()
	if err := s.ping(); err != nil {
		t.Errorf("after Resume: %v", err)
	}
}

func TestATLSServerRefusesAClientWithoutACertificate(t *testing.T) {
	s := StartTLS(t)
	bare := s.TLS.Clone()
	bare.Certificates = nil
	if err := (&Server{Addr: s.Addr, TLS: bare}).ping(); err == nil {
		t.Error("answered a client without a certificate")
	}
	if err := (&Server{Addr: s.Addr}).ping(); err == nil {
		t.Error("answered a client without TLS")
	}
}

func wantClosed(t *testing.T, addr string) {
	t.Helper()
	if conn, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
		conn.Close()
		t.Errorf("somebody still listens on %s", addr)
	}
}
