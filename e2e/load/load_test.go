package load

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/e2e/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.RunTestsAsShipped(m)) }

// memory is what the gateway may take at its peak, in bytes, under each of the loads below. The threat model names it.
const memory = 128 << 20

// crowd is a gateway with many users, whose passwords are hashed at the cost of new ones, before an app with a public
// part.
func crowd(t *testing.T, people int) *harness.Gateway {
	t.Helper()
	up := harness.StartUpstream(t)
	g := harness.StartGateway(t, harness.Settings{Upstreams: "  - url: \"" + up.URL + "\"\n    access: { policy: one_factor, rules: [{ paths: [\"/public/*\"], policy: bypass }] }"})
	hash := exec.Command(harness.Binary, "hash-password")
	hash.Stdin = strings.NewReader(harness.Password + "\n")
	phc, err := hash.Output()
	if err != nil {
		t.Fatalf("hashing a password: %v", err)
	}
	var users strings.Builder
	users.WriteString("users:\n")
	for i := range people {
		fmt.Fprintf(&users, "  user%d: { password: %q }\n", i, strings.TrimSpace(string(phc)))
	}
	g.Write("users.yaml", users.String())
	harness.Eventually(t, "the users are known", func() bool { return strings.Contains(g.Log(), "users file taken over") })
	return g
}

// within fails the test where the gateway has taken more than it may.
func within(t *testing.T, g *harness.Gateway) {
	t.Helper()
	peak := g.Process.PeakMemory()
	t.Logf("the gateway took %d MiB at its peak", peak>>20)
	if peak > memory {
		t.Errorf("the gateway took %d MiB, want at most %d", peak>>20, memory>>20)
	}
}

// visitors ask for a public page of the app again and again, and must get it each time.
type visitors struct {
	t     *testing.T
	g     *harness.Gateway
	quiet time.Duration // the 99th percentile while nobody else was there
	mu    sync.Mutex
	took  []time.Duration
	end   chan struct{}
	all   sync.WaitGroup
}

// visit lets visitors in for a quiet second, and then until served is called.
func visit(t *testing.T, g *harness.Gateway) *visitors {
	t.Helper()
	v := &visitors{t: t, g: g}
	v.come()
	time.Sleep(time.Second)
	_, v.quiet = v.leave()
	v.come()
	return v
}

func (v *visitors) come() {
	v.end, v.took = make(chan struct{}), nil
	for range 4 {
		v.all.Go(func() {
			for {
				select {
				case <-v.end:
					return
				default:
					v.once()
				}
			}
		})
	}
}

func (v *visitors) once() {
	began := time.Now()
	resp, err := http.Get(v.g.URL + "/public/page")
	if err != nil {
		v.t.Errorf("a visitor of the public part: %v", err)
		return
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		v.t.Errorf("a visitor of the public part: status %d", resp.StatusCode)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.took = append(v.took, time.Since(began))
}

func (v *visitors) leave() (pages int, p99 time.Duration) {
	close(v.end)
	v.all.Wait()
	slices.Sort(v.took)
	if len(v.took) == 0 {
		v.t.Fatal("no visitor got a page")
	}
	return len(v.took), v.took[len(v.took)*99/100]
}

// served ends the visits and says what they were like beside the quiet ones. That is measured and not asserted: the load
// itself runs on the same processors.
func (v *visitors) served() string {
	pages, p99 := v.leave()
	return fmt.Sprintf("others got %d pages, 99 of 100 within %s; %.1f times what it was without", pages, p99.Round(100*time.Microsecond), float64(p99)/float64(v.quiet))
}

func TestThreeHundredPeopleWhoSignInAtOnceAreServedOrToldToComeAgain(t *testing.T) {
	const people = 300
	g := crowd(t, people)
	others := visit(t, g)
	outcomes := make([]harness.Answer, people)
	var all sync.WaitGroup
	for i := range people {
		c := g.Client()
		all.Go(func() {
			outcomes[i] = c.Post("/auth/login", harness.Fields{"username": fmt.Sprintf("user%d", i), "password": harness.Password})
		})
	}
	all.Wait()
	counts := map[int]int{}
	for _, a := range outcomes {
		counts[a.Status]++
		switch {
		case a.Status == 200:
		case (a.Status == 503 || a.Status == 429) && a.Header.Get("Retry-After") != "":
		default:
			t.Errorf("a right password: status %d, Retry-After %q: %s", a.Status, a.Header.Get("Retry-After"), a.Body)
		}
	}
	t.Logf("%v; %s", counts, others.served())
	if counts[200] == 0 {
		t.Error("nobody was signed in")
	}
	within(t, g)
	// Whoever was told to come again is let in when it is quiet.
	g.Client().Post("/auth/login", harness.Fields{"username": "user7", "password": harness.Password}).Want(200)
}

func TestAFloodOfNamesSlowsItsSenderAndNobodyElse(t *testing.T) {
	const names, senders = 10_000, 50
	g := crowd(t, 2)
	known := g.Client()
	known.Post("/auth/login", harness.Fields{"username": "user0", "password": harness.Password}).Want(200)
	others := visit(t, g)
	var refused, looked, other atomic.Int64
	var all sync.WaitGroup
	for s := range senders {
		c := g.Client()
		all.Go(func() {
			for i := s; i < names; i += senders {
				switch a := c.Post("/auth/login", harness.Fields{"username": fmt.Sprintf("nobody%d", i), "password": "guess"}); a.Status {
				case 429, 503:
					refused.Add(1)
				case 401:
					looked.Add(1)
				default:
					other.Add(1)
				}
			}
		})
	}
	all.Wait()
	t.Logf("%d guesses were looked at, %d refused; %s", looked.Load(), refused.Load(), others.served())
	if looked.Load() > 300 || other.Load() != 0 {
		t.Errorf("%d guesses from one address were looked at, want at most 300; %d had another end", looked.Load(), other.Load())
	}
	within(t, g)
	// Somebody who has signed in with this browser before still can, from that very address.
	known.Post("/auth/logout", nil).Want(200)
	known.Post("/auth/login", harness.Fields{"username": "user0", "password": harness.Password}).Want(200)
}

func TestTwoThousandSlowClientsKeepNobodyFromTheApp(t *testing.T) {
	const clients = 2000
	g := crowd(t, 1)
	others := visit(t, g)
	slow := make([]net.Conn, 0, clients)
	t.Cleanup(func() {
		for _, c := range slow {
			c.Close()
		}
	})
	for i := range clients {
		c, err := net.Dial("tcp", g.Address)
		if err != nil {
			t.Fatalf("slow client %d: %v", i, err)
		}
		slow = append(slow, c)
		// Half of them never end their headers, the others their body.
		head := "GET /public/page HTTP/1.1\r\nHost: " + g.Address + "\r\nX-Slow: "
		if i%2 == 1 {
			head = "POST /auth/login HTTP/1.1\r\nHost: " + g.Address + "\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n{"
		}
		if _, err := io.WriteString(c, head); err != nil {
			t.Fatalf("slow client %d: %v", i, err)
		}
	}
	g.Client().Post("/auth/login", harness.Fields{"username": "user0", "password": harness.Password}).Want(200)
	t.Log(others.served())
	within(t, g)
	// None of them may keep its connection for ever: the gateway answers or closes.
	for i, c := range slow {
		if err := c.SetReadDeadline(time.Now().Add(2 * harness.Patience)); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode < 400 {
				t.Fatalf("slow client %d was served: %d", i, resp.StatusCode)
			}
		} else if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
			t.Fatalf("slow client %d still has its connection", i)
		}
	}
}
