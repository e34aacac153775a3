package redisstore

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"sallyport/authflow/store"
)

// errKind says that a counter was taken for a value or the other way round: an error of the caller's.
var errKind = errors.New("store: wrong kind of record under this key")

// script is a Lua program that Redis runs as one step, and the digest that names it there.
type script struct{ text, digest string }

func newScript(text string) script {
	sum := sha1.Sum([]byte(text)) // what EVALSHA is defined with; nothing secret rests on it
	return script{text, hex.EncodeToString(sum[:])}
}

// swapScript writes ARGV[2] where the value under the key is still ARGV[1]; "" stands for no value on either
// side, which no value can be mistaken for because of its tag. It announces the key on the channel ARGV[4], if that is
// one. It returns 1, or the value that it found.
var swapScript = newScript(`
local found = redis.call('GET', KEYS[1])
if (found or '') ~= ARGV[1] then return found end
if ARGV[2] == '' then
  redis.call('DEL', KEYS[1])
elseif ARGV[3] == '0' then
  redis.call('SET', KEYS[1], ARGV[2])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
if ARGV[4] ~= '' then redis.call('PUBLISH', ARGV[4], KEYS[1]) end
return 1`)

// deleteScript deletes the key, and writes even where there is none: only a write has a place in what goes to the
// replicas, and whoever deletes again because nobody confirmed the first time wants to wait for just that. It announces
// the key on the channel ARGV[1], if that is one.
var deleteScript = newScript(`
redis.call('SET', KEYS[1], '')
redis.call('DEL', KEYS[1])
if ARGV[1] ~= '' then redis.call('PUBLISH', ARGV[1], KEYS[1]) end
return 1`)

// countScript adds ARGV[1] to the counter, which a first positive delta creates with ARGV[2] milliseconds to
// live (0: endless). It returns the sum as text, for Lua's numbers lose digits beyond 2^53, and what PTTL says.
var countScript = newScript(`
local found = redis.call('GET', KEYS[1])
if not found and tonumber(ARGV[1]) <= 0 then return {'0', -1} end
if found and string.sub(found, 1, 1) == 'v' then return redis.error_reply('SALLYPORTKIND a value') end
if redis.call('INCRBY', KEYS[1], ARGV[1]) < 0 then redis.call('SET', KEYS[1], '0', 'KEEPTTL') end
if not found and ARGV[2] ~= '0' then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return {redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1])}`)

// swap replaces the tagged value old by next (nil: deletes the key) if old still stands there; otherwise it
// returns the tagged value that does.
func (s *Store) swap(ctx context.Context, key, old string, next []byte, ttl time.Duration) (found string, swapped bool, err error) {
	tagged, life := "", "0"
	if next != nil {
		tagged = valueTag + string(next)
	}
	if ttl > 0 {
		life = milliseconds(ttl)
	}
	reply, err := s.runKept(ctx, swapScript, key, old, tagged, life, s.announcing(key))
	_, swapped = reply.(int64)
	found, _ = reply.(string)
	return found, swapped, err
}

func (s *Store) count(ctx context.Context, key string, delta int64, window time.Duration) (int64, time.Duration, error) {
	life := "0"
	if window > 0 {
		life = milliseconds(window)
	}
	reply, err := s.run(ctx, countScript, key, strconv.FormatInt(delta, 10), life)
	if err != nil {
		return 0, 0, err
	}
	pair, _ := reply.([]any)
	if len(pair) != 2 {
		return 0, 0, fmt.Errorf("the script answered %d items", len(pair))
	}
	text, _ := pair[0].(string)
	left, _ := pair[1].(int64)
	sum, err := strconv.ParseInt(text, 10, 64)
	return sum, time.Duration(max(left, 0)) * time.Millisecond, err
}

// run calls the script by its digest, and sends its text where the server does not know it (yet, or after a
// restart): an unknown digest has done nothing, so this is the one case in which asking again is safe.
func (s *Store) run(ctx context.Context, sc script, key string, args ...any) (any, error) {
	return s.runBy(s.do, ctx, sc, []string{key}, args)
}

// runKept is run for a write that must outlive the master: see [kept].
func (s *Store) runKept(ctx context.Context, sc script, key string, args ...any) (any, error) {
	return s.runBy(s.keep, ctx, sc, []string{key}, args)
}

func (s *Store) runBy(send sender, ctx context.Context, sc script, keys []string, args []any) (any, error) {
	reply, err := send(ctx, s.call(sc, false, keys, args)...)
	if redis.HasErrorPrefix(err, "NOSCRIPT") {
		reply, err = send(ctx, s.call(sc, true, keys, args)...)
	}
	return reply, err
}

// call is the command that runs the script, by its digest or with its text.
func (s *Store) call(sc script, withText bool, keys []string, args []any) []any {
	command := []any{"evalsha", sc.digest, len(keys)}
	if withText {
		command = []any{"eval", sc.text, len(keys)}
	}
	for _, key := range keys {
		command = append(command, s.prefix+key)
	}
	return append(command, args...)
}

// sender sends one command, once. A reply of nil is no error.
type sender func(ctx context.Context, args ...any) (any, error)

func (s *Store) do(ctx context.Context, args ...any) (any, error) {
	cmd := redis.NewCmd(ctx, args...)
	return replyOf(cmd, s.client.Process(ctx, once{cmd}))
}

func (s *Store) keep(ctx context.Context, args ...any) (any, error) {
	cmd := redis.NewCmd(ctx, args...)
	return replyOf(cmd, s.client.Process(ctx, kept{once{cmd}}))
}

// replyOf compares, and does not ask with errors.Is: Sentinels that do not know the master are an error that
// wraps redis.Nil, and must not pass for a key that is not there.
func replyOf(cmd *redis.Cmd, err error) (any, error) {
	if err == redis.Nil {
		return nil, nil
	}
	return cmd.Val(), err
}

// once is a command that go-redis must not send again: the client of a Cluster otherwise does so after a
// time-out or a lost connection, whatever MaxRetries says.
type once struct{ *redis.Cmd }

func (once) NoRetry() bool { return true }

// fault turns what go-redis returned into an error of the contract. Whatever is not the caller's own
// mistake means that nothing is known: unreachable, too slow, refused, read-only, full, loading.
func fault(method string, err error) error {
	switch {
	case err == nil:
		return nil
	case redis.HasErrorPrefix(err, "SALLYPORTKIND"):
		return fmt.Errorf("redis %s: %w: a value, where a counter is wanted", method, errKind)
	default:
		return fmt.Errorf("redis %s: %w: %w", method, store.ErrUnavailable, err)
	}
}
