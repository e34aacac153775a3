package fault

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sallyport/e2e/harness"
)

// server is a redis-server of whatever kind its configuration makes it. It keeps nothing over a restart.
type server struct {
	t       *testing.T
	address string
	process *harness.Process
}

// startServer runs a redis-server with these lines of redis.conf, and returns when it answers. The port 10,000 above
// its own is a Cluster node's second.
func startServer(t *testing.T, lines ...string) *server {
	t.Helper()
	for range 20 {
		s := &server{t: t, address: harness.FreeAddress(t)}
		if port, _ := strconv.Atoi(harness.Port(t, s.address)); port > 55_000 {
			continue
		}
		dir := t.TempDir()
		file, mode := filepath.Join(dir, "redis.conf"), []string{}
		conf := fmt.Sprintf("bind 127.0.0.1\nport %s\ndir %s\nsave \"\"\nrepl-diskless-sync-delay 0\n", harness.Port(t, s.address), dir)
		if strings.HasPrefix(lines[0], "sentinel ") {
			conf, mode = strings.Replace(conf, "save \"\"\nrepl-diskless-sync-delay 0\n", "", 1), []string{"--sentinel"}
		}
		if err := os.WriteFile(file, []byte(conf+strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		s.process = harness.Start(t, dir, "redis-server", append([]string{file}, mode...)...)
		harness.Eventually(t, "redis-server at "+s.address+" answers", func() bool { return s.process.Ended() || s.asks("ping") == "+PONG" })
		if !s.process.Ended() {
			return s
		}
		if !s.process.Taken() {
			t.Fatalf("redis-server ended at once:\n%s", s.process.Out.String())
		}
	}
	t.Fatal("redis-server found no free port")
	return nil
}

// kill ends the process as a crash would.
func (s *server) kill() {
	s.process.Signal(syscall.SIGKILL)
	harness.Eventually(s.t, "the killed redis-server is gone", s.process.Ended)
}

func (s *server) port() string { return harness.Port(s.t, s.address) }

// asks sends a command in the inline form of the protocol, and returns the reply: of a bulk string the text, of any
// other kind the line with its sign. No answer is "".
func (s *server) asks(command string) string {
	c, err := net.DialTimeout("tcp", s.address, time.Second)
	if err != nil {
		return ""
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return ""
	}
	if _, err := io.WriteString(c, command+"\r\n"); err != nil {
		return ""
	}
	reader := bufio.NewReader(c)
	line, err := reader.ReadString('\n')
	line = strings.TrimRight(line, "\r\n")
	if size, isBulk := strings.CutPrefix(line, "$"); err == nil && isBulk {
		n, _ := strconv.Atoi(size)
		text := make([]byte, max(n, 0))
		_, err = io.ReadFull(reader, text)
		line = string(text)
	}
	if err != nil {
		return ""
	}
	return line
}

// does is asks, for a command that must succeed.
func (s *server) does(command string) string {
	s.t.Helper()
	reply := s.asks(command)
	if reply == "" || strings.HasPrefix(reply, "-") {
		s.t.Fatalf("redis-server at %s: %s: %q", s.address, command, reply)
	}
	return reply
}

// inStep waits until so many replicas of the server have acknowledged something.
func (s *server) inStep(replicas int) {
	s.t.Helper()
	acknowledged := regexp.MustCompile(`state=online,offset=[1-9]`)
	harness.Eventually(s.t, "the replicas are in step", func() bool {
		s.asks("wait 9 20") // lets the master ask for acknowledgements
		return len(acknowledged.FindAllString(s.asks("info replication"), -1)) == replicas
	})
}

// startFailover runs a master, two replicas whose wires to it are late by lag, and three Sentinels. It returns the
// addresses of the Sentinels, in quotes, and what kills the master, with all that is still on those wires.
func startFailover(t *testing.T, lag time.Duration) (sentinels []string, lose func()) {
	t.Helper()
	master := startServer(t, "appendonly no")
	var wires []*wire
	for range 2 {
		w := newWire(t, master.address)
		startServer(t, "replicaof 127.0.0.1 "+harness.Port(t, w.address))
		w.set(trouble{delay: lag})
		wires = append(wires, w)
	}
	master.inStep(2)
	var all []*server
	for range 3 {
		s := startServer(t, "sentinel monitor gate 127.0.0.1 "+master.port()+" 2",
			"sentinel down-after-milliseconds gate 1000", "sentinel failover-timeout gate 5000")
		all = append(all, s)
		sentinels = append(sentinels, strconv.Quote(s.address))
	}
	for _, s := range all {
		harness.Eventually(t, "the Sentinels know all", func() bool {
			return strings.Contains(s.asks("info sentinel"), "status=ok,address="+master.address+",slaves=2,sentinels=3")
		})
	}
	return sentinels, func() {
		for _, w := range wires {
			w.set(trouble{reset: true})
		}
		master.kill()
	}
}

// startCluster runs a Cluster of three masters with a replica each; replicas[i] follows masters[i].
func startCluster(t *testing.T) (masters, replicas []*server) {
	t.Helper()
	node := []string{"cluster-enabled yes", "cluster-config-file nodes.conf", "cluster-node-timeout 1500", "repl-ping-replica-period 1"}
	for i := range 6 {
		s := startServer(t, node...)
		if i < 3 {
			masters = append(masters, s)
			for slot := 16384 * i / 3; slot < 16384*(i+1)/3; slot += 1024 {
				var slots strings.Builder
				for n := slot; n < min(slot+1024, 16384*(i+1)/3); n++ {
					fmt.Fprintf(&slots, " %d", n)
				}
				s.does("cluster addslots" + slots.String())
			}
		} else {
			replicas = append(replicas, s)
		}
		if i > 0 {
			s.does("cluster meet 127.0.0.1 " + masters[0].port())
		}
	}
	all := append(append([]*server{}, masters...), replicas...)
	knows := func(what string) {
		t.Helper()
		for _, s := range all {
			harness.Eventually(t, "the Cluster is whole: "+what, func() bool { return strings.Contains(s.asks("cluster info"), what) })
		}
	}
	knows("cluster_known_nodes:6")
	for i, r := range replicas {
		r.does("cluster replicate " + masters[i].does("cluster myid"))
	}
	for _, m := range masters {
		m.inStep(1)
	}
	knows("cluster_state:ok")
	return masters, replicas
}
