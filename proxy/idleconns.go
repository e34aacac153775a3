package proxy

import (
	"slices"
	"sync"
	"time"
)

// sweepInterval is how often idle connections are looked through for those that are of no more use.
const sweepInterval = idleConnTimeout / 9

// idleConns are the connections that no request is using. Its methods are called from many goroutines. The zero value is
// ready.
type idleConns struct {
	mu      sync.Mutex
	byHost  map[string][]*plainConn // the one used last at the end
	sweeper *time.Timer             // nil while nothing is idle, but for the last interval
	closing bool                    // what is given back is closed, until something is taken again
}

// take gives the connection to a host that was used last; nil: there is none. Whether it is fit for a request is seen when
// one is sent.
func (p *idleConns) take(host string) *plainConn {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closing = false
	all := p.byHost[host]
	if len(all) == 0 {
		return nil
	}
	last := len(all) - 1
	c := all[last]
	all[last] = nil
	p.byHost[host] = all[:last]
	return c
}

// put takes a connection that can be used again; false: it does not, and the connection is to be closed.
func (p *idleConns) put(c *plainConn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := p.byHost[c.host]
	if p.closing || len(all) >= idleConnsPerUpstream {
		return false
	}
	if p.byHost == nil {
		p.byHost = map[string][]*plainConn{}
	}
	c.idleSince = time.Now()
	p.byHost[c.host] = append(all, c)
	if p.sweeper == nil {
		p.sweeper = time.AfterFunc(sweepInterval, func() { p.sweep(time.Now()) })
	}
	return true
}

// sweep closes the connections that have been idle for too long by now, or that their upstreams have closed, and comes
// again while others are left.
func (p *idleConns) sweep(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for host, all := range p.byHost {
		all = slices.DeleteFunc(all, func(c *plainConn) bool {
			useless := now.Sub(c.idleSince) >= idleConnTimeout || !c.quiet()
			if useless {
				c.Close()
			}
			return useless
		})
		if p.byHost[host] = all; len(all) == 0 {
			delete(p.byHost, host)
		}
	}
	if p.sweeper == nil {
		return // all were closed as this began
	}
	if len(p.byHost) == 0 {
		p.sweeper = nil
		return
	}
	p.sweeper.Reset(sweepInterval)
}

func (p *idleConns) closeAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, all := range p.byHost {
		for _, c := range all {
			c.Close()
		}
	}
	p.byHost, p.closing = nil, true
	if p.sweeper != nil {
		p.sweeper.Stop()
		p.sweeper = nil
	}
}
