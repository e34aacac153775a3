// Package redisstore keeps the gateway's state in Redis, for any number of replicas: one server, a master
// behind Sentinels, or a Cluster; with TLS and an ACL user where wanted.
//
// It is not a cache: a server that evicts keys or forgets them over a restart loses sign-outs and second
// factors, which is why [Store.Check] looks at its settings.
package redisstore

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"sallyport/authflow/store"
)

// valueTag stands before every value, so that Redis itself can tell it from a counter, which is digits.
const valueTag = "v"

// probeKey is what Ping and Open write, under the key prefix like every other key.
const probeKey = "store-probe"

// Store is the Redis driver of [store.KV]. Its methods may be called by any number of goroutines, here and
// in other replicas.
//
// Nothing is ever sent twice, because a command whose reply was lost may have been carried out. Sent again,
// a refund through Count would count twice, and a compare-and-set would take its own write for another's.
type Store struct {
	client  redis.UniversalClient
	prefix  string
	timeout time.Duration // of one method, all its round trips together
	turns   *turns
	log     *slog.Logger

	announced string // see [Options.Announced]
}

var _ store.KV = (*Store)(nil)

// Get implements [store.KV].
func (s *Store) Get(ctx context.Context, key string) ([]byte, error) {
	if err := store.CheckKey(key); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	raw, err := s.get(ctx, key)
	if err != nil {
		return nil, fault("get", err)
	}
	value, err := untag(raw)
	if err == nil && value == nil {
		err = store.ErrNotFound
	}
	return value, err
}

// Put implements [store.KV].
func (s *Store) Put(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if err := cmp.Or(store.CheckKey(key), store.CheckValue(value)); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	args := []any{"set", s.prefix + key, valueTag + string(value)}
	if ttl > 0 {
		args = append(args, "px", milliseconds(ttl))
	}
	_, err := s.do(ctx, args...)
	return fault("put", err)
}

// Delete implements [store.KV]. The keys go one by one, since in a Cluster each may live on another node.
func (s *Store) Delete(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		if err := store.CheckKey(key); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	// A replica that does not answer must not keep the later keys alive.
	for _, key := range keys[:max(0, len(keys)-1)] {
		if _, err := s.run(ctx, deleteScript, key, s.announcing(key)); err != nil {
			return fault("delete", err)
		}
	}
	for _, key := range slices.Backward(keys) {
		if _, err := s.runKept(ctx, deleteScript, key, s.announcing(key)); err != nil {
			return fault("delete", err)
		}
	}
	return nil
}

// Update implements [store.KV]: it reads, lets change decide, and writes only where the value is still the
// one that change saw; otherwise change decides again on what came between. That the same bytes may have
// gone and come back meanwhile does no harm, for change sees nothing but the bytes. Where the reply to the
// write is lost, Update ends with [store.ErrUnavailable] and does not ask change again: on its own new value
// it would refuse what it had just granted.
func (s *Store) Update(ctx context.Context, key string, change store.Change) error {
	if err := store.CheckKey(key); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	giveOn, err := s.turns.take(ctx, key)
	if err != nil {
		return fault("update", err)
	}
	defer giveOn()
	raw, err := s.get(ctx, key)
	if err != nil {
		return fault("update", err)
	}
	for attempt := 0; ; attempt++ {
		current, err := untag(raw)
		if err != nil {
			return err
		}
		next, ttl, err := change(current)
		if err != nil {
			return err
		}
		if next != nil {
			if err := store.CheckValue(next); err != nil {
				return err
			}
		}
		now, swapped, err := s.swap(ctx, key, raw, next, ttl)
		if err != nil || swapped {
			return fault("update", err)
		}
		raw = now
		if err := pause(ctx, attempt); err != nil {
			return fault("update", fmt.Errorf("lost to other writers %d times: %w", attempt+1, err))
		}
	}
}

// Count implements [store.KV].
func (s *Store) Count(ctx context.Context, key string, delta int64, window time.Duration) (int64, time.Duration, error) {
	if err := store.CheckKey(key); err != nil {
		return 0, 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	sum, left, err := s.count(ctx, key, delta, window)
	return sum, left, fault("count", err)
}

// Ping implements [store.KV]: it writes, for a replica or a full server still answers PING, and in a Cluster
// it also asks every master.
func (s *Store) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	return fault("ping", s.ping(ctx))
}

func (s *Store) ping(ctx context.Context) error {
	if _, _, err := s.count(ctx, probeKey, 1, time.Minute); err != nil {
		return err
	}
	if cluster, ok := s.client.(*redis.ClusterClient); ok {
		return cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
			return node.Ping(ctx).Err()
		})
	}
	return nil
}

// Close implements [store.KV].
func (s *Store) Close() error { return s.client.Close() }

// get returns the value under key with its tag, "" where there is none.
func (s *Store) get(ctx context.Context, key string) (string, error) {
	reply, err := s.do(ctx, "get", s.prefix+key)
	raw, _ := reply.(string)
	return raw, err
}

// untag returns a copy of the value, nil where raw is "" for none.
func untag(raw string) ([]byte, error) {
	if raw == "" {
		return nil, nil
	}
	if raw[:1] != valueTag {
		return nil, fmt.Errorf("%w: a counter, where a value is wanted", errKind)
	}
	return append([]byte{}, raw[1:]...), nil
}

// milliseconds rounds up, for a value must not end early, and Redis takes no time to live of 0.
func milliseconds(d time.Duration) string {
	return strconv.FormatInt(int64((d-1)/time.Millisecond)+1, 10)
}

// pause waits a little, longer with every attempt and at random, so that writers do not meet again.
func pause(ctx context.Context, attempt int) error {
	timer := time.NewTimer(rand.N(time.Millisecond << min(attempt, 5)))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
