package main

import (
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
)

// bufferSize is that of the standard library's own reverse proxy.
const bufferSize = 32 << 10

// buffers lends the buffers through which bodies are copied.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte {
	if buf, ok := b.pool.Get().(*[bufferSize]byte); ok {
		return buf[:]
	}
	return make([]byte, bufferSize)
}

func (b *buffers) Put(buf []byte) { b.pool.Put((*[bufferSize]byte)(buf)) }

// bareProxyPart is what the gateway is measured against: the least that a reverse proxy in Go can do, with its
// connections kept. Its arguments are an address to listen on, an upstream, and "tuned" or "default" for the transport.
func bareProxyPart(args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("want an address, an upstream and a transport, found %q", args)
	}
	target, err := url.Parse(args[1])
	if err != nil {
		return err
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(target)
			p.SetXForwarded()
		},
		BufferPool: &buffers{},
	}
	if args[2] == "tuned" {
		proxy.Transport = &http.Transport{MaxIdleConns: 4096, MaxIdleConnsPerHost: 4096, DisableCompression: true}
	}
	return http.ListenAndServe(args[0], proxy)
}

// startBareProxy runs the bare proxy and returns its address.
func (b *bench) startBareProxy(upstream, transport string) (string, error) {
	p, err := b.bareReplica(upstream, transport)
	if err != nil {
		return "", err
	}
	return p.address, nil
}

// bareReplica is startBareProxy, with the process.
func (b *bench) bareReplica(upstream, transport string) (replica, error) {
	address, err := freeAddress()
	if err != nil {
		return replica{}, err
	}
	p, err := b.start(b.dir, b.self, "bare-proxy", address, upstream, transport)
	if err != nil {
		return replica{}, err
	}
	return replica{p, address}, p.listens(address)
}
