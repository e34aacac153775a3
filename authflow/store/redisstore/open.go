package redisstore

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// defaultTimeout leaves a second of the three in which a request must be answered with the store out of reach.
const defaultTimeout = 2 * time.Second

// Options say where Redis is and how to speak to it.
type Options struct {
	// Addresses are host:port: of the one server, of some nodes of a Cluster, or of Sentinels where
	// MasterName is set. Several without MasterName mean a Cluster.
	Addresses  []string
	MasterName string // under which the Sentinels know the master
	Cluster    bool   // a Cluster although there is one address
	// Username is the ACL user; empty: the default user. It needs its keys (~<KeyPrefix>*) and
	//
	//	+get +set +del +eval +evalsha +incrby +pexpire +pttl +role +wait
	//
	// and, for what is announced, +publish, +subscribe and its channels (&<KeyPrefix>*); and, with a Cluster, +ping and +cluster|slots (before Redis 7: +cluster); with a DB, +select; and for
	// [Store.Check] to see all, +info and +config|get. Sentinels themselves are asked without credentials.
	Username  string
	Password  string
	DB        int         // 0 in a Cluster
	KeyPrefix string      // stands before every key and channel
	Announced string      // changes of keys that begin so are announced, see [Store.Follow]; "": none is
	TLS       *tls.Config // nil: plain TCP
	// Log hears, at debug level, what the client library has to say. It is one for the whole process:
	// the last Open decides. Default: nothing is logged.
	Log     *slog.Logger
	Timeout time.Duration // bounds every method, all its round trips together; default 2 s
}

// Open connects to Redis and tries the reads and writes that the store needs. Where that fails, the error
// says in one line what is wrong, within [Options.Timeout].
func Open(ctx context.Context, opts Options) (*Store, error) {
	cluster := opts.Cluster || opts.MasterName == "" && len(opts.Addresses) > 1
	switch {
	case len(opts.Addresses) == 0:
		return nil, errors.New("redis: no address given: name at least one in store.redis.addresses")
	case cluster && opts.MasterName != "":
		return nil, errors.New("redis: store.redis.cluster and store.redis.master_name exclude one another: set one of them")
	case cluster && opts.DB != 0:
		return nil, fmt.Errorf("redis: store.redis.db is %d, and a Cluster has no database but 0: set it to 0", opts.DB)
	}
	log := cmp.Or(opts.Log, slog.New(slog.DiscardHandler))
	redis.SetLogger(libraryLog{log})
	s := &Store{prefix: opts.KeyPrefix, timeout: cmp.Or(opts.Timeout, defaultTimeout), turns: newTurns(), log: log, announced: opts.Announced}
	s.client = newClient(opts, cluster, s.timeout)
	keepWrites(s.client)
	if err := s.probe(ctx); err != nil {
		_ = s.Close() // nothing was done with it
		return nil, explain(opts, err)
	}
	return s, nil
}

// newClient sets go-redis so that a method ends in time and leaves nothing behind that happens later:
// one dial, no command sent again, deadlines kept. RESP2 is enough here and has no push messages that
// could stand between a command and its reply.
func newClient(opts Options, cluster bool, timeout time.Duration) redis.UniversalClient {
	u := &redis.UniversalOptions{
		Addrs: opts.Addresses, MasterName: opts.MasterName,
		Username: opts.Username, Password: opts.Password, DB: opts.DB,
		Protocol: 2, Dialer: dialer(opts.TLS, timeout/2),
		MaxRetries: -1, DialerRetries: 1,
		DialTimeout: timeout / 2, ReadTimeout: timeout, WriteTimeout: timeout, PoolTimeout: timeout,
		ContextTimeoutEnabled:    true,
		PipelinePoolSize:         -1,
		DisableIdentity:          true, // CLIENT SETINFO is one more command to allow
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	switch {
	case opts.MasterName != "":
		return redis.NewFailoverClient(u.Failover())
	case cluster:
		c := u.Cluster()
		// A command that is not sent again does not make the client look for a new master either, so that
		// it must look by itself: a second is well within the five in which the store must be back.
		c.ClusterStateReloadInterval = time.Second
		c.DisableRoutingPolicies = true // they need COMMAND, and every key here is named by its place
		return redis.NewClusterClient(c)
	default:
		return redis.NewClient(u.Simple())
	}
}

// dialer connects with TLS where config is not nil. go-redis's own forgets the deadline of a TLS handshake.
func dialer(config *tls.Config, timeout time.Duration) func(context.Context, string, string) (net.Conn, error) {
	plain := &net.Dialer{Timeout: timeout}
	if config == nil {
		return plain.DialContext
	}
	secure := &tls.Dialer{NetDialer: plain, Config: config}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := secure.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return peekable{conn.(*tls.Conn)}, nil
	}
}

// peekable lets go-redis look at the socket under a TLS connection before it takes one from the pool. A
// server that was restarted has closed them all, and unseen each of them would cost somebody a failed call.
type peekable struct{ *tls.Conn }

// SyscallConn implements [syscall.Conn].
func (p peekable) SyscallConn() (syscall.RawConn, error) {
	conn, ok := p.NetConn().(syscall.Conn)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	return conn.SyscallConn()
}

// probe goes through every command that the methods use.
func (s *Store) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	if err := s.ping(ctx); err != nil {
		return err
	}
	if _, _, err := s.swap(ctx, probeKey+"-value", "", []byte{}, time.Minute); err != nil {
		return err
	}
	wait := func(ctx context.Context, node *redis.Client) error { return node.Do(ctx, "wait", 0, 1).Err() }
	if err := s.eachMaster(ctx, wait); err != nil {
		return err
	}
	if _, err := s.do(ctx, "del", s.prefix+probeKey+"-value"); err != nil || s.announced == "" {
		return err
	}
	return s.probeAnnouncements(ctx)
}

// probeAnnouncements subscribes and publishes.
func (s *Store) probeAnnouncements(ctx context.Context) error {
	sub := s.client.Subscribe(ctx, s.changes(), s.prefix+"echo/probe")
	defer sub.Close()
	if _, err := sub.ReceiveTimeout(ctx, s.timeout); err != nil {
		return err
	}
	_, err := s.do(ctx, "publish", s.prefix+"echo/probe", "")
	return err
}

// explain says what is wrong with err, and what to do where that is known.
func explain(opts Options, err error) error {
	where := "redis " + strings.Join(opts.Addresses, ", ")
	var dial *net.OpError
	var notTLS tls.RecordHeaderError
	dialled := errors.As(err, &dial) && dial.Op == "dial"
	if dialled && dial.Addr != nil { // behind Sentinels or in a Cluster it may be none of the configured ones
		where = "redis " + dial.Addr.String()
	}
	switch {
	case redis.HasErrorPrefix(err, "WRONGPASS"):
		return fmt.Errorf("%s: user name or password refused: correct store.redis.username and store.redis.password: %w", where, serverSaid(err))
	case redis.HasErrorPrefix(err, "NOAUTH"):
		return fmt.Errorf("%s: a password is needed: set store.redis.password: %w", where, serverSaid(err))
	case redis.IsPermissionError(err):
		return fmt.Errorf("%s: the ACL user may not do all that is needed: allow it: %w", where, serverSaid(err))
	case errors.As(err, &notTLS):
		return fmt.Errorf("%s: does not speak TLS: correct store.redis.tls or the port: %w", where, notTLS)
	case opts.MasterName != "" && errors.Is(err, redis.Nil):
		return fmt.Errorf("%s: these Sentinels know no master %q: correct store.redis.master_name", where, opts.MasterName)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		if opts.TLS != nil {
			where += " (with TLS, see store.redis.tls)"
		}
		return fmt.Errorf("%s: no answer in time: %w", where, err)
	case dialled:
		return fmt.Errorf("%s: %w", where, innermost(dial.Err))
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		hint := "does it want TLS, see store.redis.tls?"
		if opts.TLS != nil {
			hint = "does it want a client certificate, see store.redis.tls.cert_file?"
		}
		return fmt.Errorf("%s: closes the connection at once (%s): %w", where, hint, err)
	default:
		return fmt.Errorf("%s: %w", where, err)
	}
}

// serverSaid takes our own words off an error of the server's.
func serverSaid(err error) error {
	var reply redis.Error
	if errors.As(err, &reply) {
		return reply
	}
	return err
}

// innermost takes the name of the system call off its error.
func innermost(err error) error {
	var call *os.SyscallError
	if errors.As(err, &call) {
		return call.Err
	}
	return err
}

// libraryLog hands go-redis's messages on. They are debug: whatever matters to a caller is also returned to
// it, and with the server gone the library has something to say on every call.
type libraryLog struct{ log *slog.Logger }

func (l libraryLog) Printf(ctx context.Context, format string, v ...any) {
	if l.log.Enabled(ctx, slog.LevelDebug) {
		l.log.DebugContext(ctx, "redis client", "message", fmt.Sprintf(format, v...))
	}
}
