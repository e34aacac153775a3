package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// writeProfile runs the gateway under the load of group 1, with a little of forward-auth and of sign-ins, on both
// stores, and writes what its processors were busy with.
func (b *bench) writeProfile(out string) error {
	web, err := b.upstream()
	if err != nil {
		return err
	}
	var profiles []string
	for _, driver := range []string{"embedded", "redis"} {
		path := filepath.Join(b.dir, driver+".pprof")
		if err := os.Setenv("SALLYPORT_CPU_PROFILE", path); err != nil {
			return err
		}
		address, cookies, err := b.seeded(driver, gatewaySpec{upstreams: upstreamEntry("app", "/", web.url, "two_factor"), trusted: "127.0.0.1/32"})
		if err != nil {
			return err
		}
		err = errors.Join(b.profileLoad(address, cookies), os.Unsetenv("SALLYPORT_CPU_PROFILE"))
		b.started[len(b.started)-1].stop() // the gateway, which writes the profile as it ends
		if err != nil {
			return err
		}
		if info, err := os.Stat(path); err != nil || info.Size() == 0 {
			return fmt.Errorf("the gateway left no profile in %s: is it built with -tags profile? %w", path, err)
		}
		profiles = append(profiles, path)
	}
	c := exec.CommandContext(b.ctx, b.goTool, append([]string{"tool", "pprof", "-proto", "-output", out}, profiles...)...)
	if text, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", c, err, text)
	}
	b.note("wrote %s", out)
	return nil
}

// profileLoad is what the gateway does most, in about the shares in which it does it.
func (b *bench) profileLoad(address string, cookies map[int]string) error {
	for _, l := range []load{
		{32, small, cookies[manyDistinct], 0, 10},
		{32, large, cookies[manyDistinct], 0, 8},
		{32, small, cookies[1], 0, 6},
		{256, small, cookies[manyDistinct], 9000, 4},
		{32, "/auth/me", cookies[manyDistinct], 0, 2},
	} {
		l.seconds = b.slices(l.seconds)
		if _, err := b.wrk(address, l); err != nil {
			return err
		}
	}
	if err := b.askForOthers(address, cookies[1]); err != nil {
		return err
	}
	f := startFlood(address)
	time.Sleep(time.Duration(b.slices(2)) * time.Second)
	f.stop()
	return nil
}

// askForOthers asks as nginx does for the requests of its own clients.
func (b *bench) askForOthers(address, cookies string) error {
	lines, err := readLines(cookies)
	if err != nil {
		return err
	}
	c := newClient(address)
	defer c.close()
	return many(b.slices(6000), func(int) error {
		req, err := http.NewRequest(http.MethodGet, "http://"+address+"/auth/authz/auth-request", nil)
		if err != nil {
			return err
		}
		req.Header.Set("Cookie", "sallyport="+lines[0])
		req.Header.Set("X-Original-URL", "http://"+address+small)
		req.Header.Set("X-Original-Method", http.MethodGet)
		resp, err := c.http.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("forward-auth: status %d, want 200", resp.StatusCode)
		}
		return nil
	})
}
