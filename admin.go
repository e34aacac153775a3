package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// admin is what server.admin_listen serves: for those who run the gateway, never for the public.
func (s *server) admin() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := s.ready(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		metrics.WritePrometheus(w, true)
	})
	return mux
}

// ready says why the gateway should get no traffic; nil where it may.
func (s *server) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2500*time.Millisecond)
	defer cancel()
	if err := s.kv.Ping(ctx); err != nil {
		return err
	}
	if s.kv.check == nil {
		return nil
	}
	_, err := s.kv.check(ctx)
	return err
}

// counted counts requests by class of status and measures the time to their end.
func counted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		sw := &statusWriter{ResponseWriter: w}
		defer func() {
			class := fmt.Sprintf(`{class="%dxx"}`, sw.status/100)
			metrics.GetOrCreateCounter("sallyport_requests_total" + class).Inc()
			metrics.GetOrCreateHistogram("sallyport_request_duration_seconds" + class).UpdateDuration(began)
		}()
		next.ServeHTTP(sw, r)
	})
}

// statusWriter remembers the status of an answer. It has Unwrap, without which WebSockets and event
// streams could not get at the connection.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *statusWriter) WriteHeader(code int) {
	if w.status == 0 && code >= 200 || code == http.StatusSwitchingProtocols {
		w.status = code
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}
