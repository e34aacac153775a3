package session

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"sallyport/authflow/store"
)

// MaxPerUser bounds the sessions of one person. One more ends the oldest.
const MaxPerUser = 100

// Keeper keeps sessions in the store. It is safe for concurrent use and for any number of replicas.
//
// A session is one record under its token's digest. Beside it each person has one index record, which names
// their sessions, so that listing and revoking cost the same however many other sessions there are.
type Keeper struct {
	KV    store.KV
	Now   func() time.Time
	Cache *Cache // nil: every lookup reads the store. [Keeper.Run] has to run where there is one
}

// RecordPrefix begins the keys of all sessions' records, and no others: what is changed under it has to be announced where
// several processes share a store.
const RecordPrefix = "s/"

// recordName is the key under which a session's record stands: the digest as bytes, for it counts a million times. What
// is no digest names no session.
func recordName(key string) string {
	digest, _ := base64.RawURLEncoding.DecodeString(key)
	return RecordPrefix + string(digest)
}

// recordDigest is the way back.
func recordDigest(name string) (d Digest, ok bool) {
	digest, ok := strings.CutPrefix(name, RecordPrefix)
	return d, copy(d[:], digest) == len(d) && ok && len(digest) == len(d)
}

// digestOf is the digest that a [Session.Key] names; the zero digest, which is no token's, where it is none.
func digestOf(key string) (d Digest) {
	if raw, err := base64.RawURLEncoding.DecodeString(key); err == nil && len(raw) == len(d) {
		return Digest(raw)
	}
	return d
}

// Start stores a new session under a token that is as new. Key, SeenAt and a zero SignedInAt are filled in, and
// a User-Agent of more than 256 bytes is cut.
func (k *Keeper) Start(ctx context.Context, token Token, s Session) (*Session, error) {
	now := k.Now()
	s.Key, s.SeenAt, s.UserAgent = token.Key(), now.Unix(), clip(s.UserAgent, maxUserAgent)
	if s.SignedInAt == 0 {
		s.SignedInAt = now.Unix()
	}
	// The index first: a session that no list shows could not be revoked, while an entry without a
	// session is harmless.
	if err := k.index(ctx, s.Subject, &indexEntry{Key: s.Key, EndsAt: s.EndsAt}, ""); err != nil {
		return nil, fmt.Errorf("start session: %w", err)
	}
	if err := k.KV.Put(ctx, recordName(s.Key), encodeRecord(&s), s.left(now)); err != nil {
		return nil, fmt.Errorf("start session: %w", err)
	}
	// Who ended all of the person's sessions between the two writes has marked the entry or taken it away, and found
	// no record to delete: the session must not live.
	entries, err := k.entries(ctx, s.Subject)
	if err == nil && !slices.ContainsFunc(entries, func(e indexEntry) bool { return e.Key == s.Key && !e.Ended }) {
		err = ErrNone
	}
	if err != nil {
		return nil, errors.Join(err, k.delete(ctx, s.Key))
	}
	return &s, nil
}

// Replace ends old and starts next under a token that is as new: what was known before a rise of assurance opens
// nothing after it. old is dead before next lives. Where old was ended already, by somebody else, there is
// nothing to go on from: [ErrNone].
func (k *Keeper) Replace(ctx context.Context, old *Session, token Token, next Session) (*Session, error) {
	err := k.KV.Update(ctx, recordName(old.Key), func(raw []byte) ([]byte, time.Duration, error) {
		if raw == nil {
			return nil, 0, ErrNone
		}
		return nil, 0, nil
	})
	k.Cache.forget(old.Key)
	if err == nil {
		err = k.index(ctx, old.Subject, nil, old.Key)
	}
	if err != nil {
		return nil, err
	}
	return k.Start(ctx, token, next)
}

// Refresh hands out the next generation of a bearer session. A generation that was handed in before ends
// the session and returns [ErrReused]: one of the two who hold it has stolen it (RFC 9700 section 4.14.2).
func (k *Keeper) Refresh(ctx context.Context, token Token, generation int64) (*Session, error) {
	s, err := k.update(ctx, token.Key(), func(s *Session) error {
		if !s.Bearer {
			return ErrNone
		}
		if s.Generation != generation {
			return ErrReused
		}
		s.Generation++
		s.SeenAt = k.Now().Unix()
		return nil
	})
	if errors.Is(err, ErrReused) {
		// The index entry stays behind, dead, until the session's end.
		if errDelete := k.delete(ctx, token.Key()); errDelete != nil {
			return nil, fmt.Errorf("end session of a reused refresh token: %w", errDelete)
		}
	}
	return s, err
}

// Restamp keeps a session alive over a change of the password.
func (k *Keeper) Restamp(ctx context.Context, s *Session, stamp string) error {
	_, err := k.update(ctx, s.Key, func(s *Session) error { s.Stamp = stamp; return nil })
	return err
}

// KeepPassword changes the sealed password of a session; nil takes it away. One that has ended stays ended.
func (k *Keeper) KeepPassword(ctx context.Context, key string, sealed []byte) error {
	_, err := k.update(ctx, key, func(s *Session) error { s.Password = sealed; return nil })
	return err
}

// Lower takes the second factor out of a session whose owner has none any more.
func (k *Keeper) Lower(ctx context.Context, s *Session) error {
	_, err := k.update(ctx, s.Key, func(s *Session) error { s.AMR, s.SecondFactorAt = []string{"pwd"}, 0; return nil })
	return err
}

// Revoke ends a session at once. One that is gone is no error.
func (k *Keeper) Revoke(ctx context.Context, s *Session) error {
	if err := k.delete(ctx, s.Key); err != nil {
		return fmt.Errorf("revoke session: %w", err)
	}
	if err := k.index(ctx, s.Subject, nil, s.Key); err != nil {
		return fmt.Errorf("revoke session: %w", err)
	}
	return nil
}

// StayEnded makes sure that a session which is gone stays gone. Whoever ended it may have been told
// [store.ErrUnconfirmed], and asks again: what no replica has heard of could come back.
func (k *Keeper) StayEnded(ctx context.Context, key string) error {
	if err := k.delete(ctx, key); err != nil {
		return fmt.Errorf("revoke session: %w", err)
	}
	return nil
}

// RevokeAll ends every session of subject but the one under the key except (none, where it is empty). Where it
// fails half-way, the next call ends what is left.
func (k *Keeper) RevokeAll(ctx context.Context, subject, except string) error {
	var ended []string
	// Marked in the index first: a session that is being started looks there whether it may live. Taken out of it
	// last: who tries again after a fault must find them.
	err := k.changeIndex(ctx, subject, func(entries []indexEntry) []indexEntry {
		ended = nil
		for i := range entries {
			if entries[i].Key != except {
				entries[i].Ended = true
				ended = append(ended, entries[i].Key)
			}
		}
		return entries
	})
	if err == nil || errors.Is(err, store.ErrUnconfirmed) {
		err = errors.Join(err, k.delete(ctx, ended...))
	}
	if err == nil {
		err = k.changeIndex(ctx, subject, func(entries []indexEntry) []indexEntry {
			return slices.DeleteFunc(entries, func(e indexEntry) bool { return slices.Contains(ended, e.Key) })
		})
	}
	if err != nil {
		return fmt.Errorf("revoke sessions: %w", err)
	}
	return nil
}

// List returns the live sessions of subject, the latest used first.
func (k *Keeper) List(ctx context.Context, subject string) ([]*Session, error) {
	entries, err := k.entries(ctx, subject)
	if err != nil {
		return nil, err
	}
	var list []*Session
	for _, e := range entries {
		s, err := k.get(ctx, e.Key)
		if errors.Is(err, ErrNone) {
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	slices.SortStableFunc(list, func(a, b *Session) int { return cmp.Compare(b.SeenAt, a.SeenAt) })
	return list, nil
}

func (k *Keeper) get(ctx context.Context, key string) (*Session, error) {
	raw, err := k.KV.Get(ctx, recordName(key))
	if errors.Is(err, store.ErrNotFound) {
		return nil, ErrNone
	}
	if err != nil {
		return nil, fmt.Errorf("look session up: %w", err)
	}
	return k.decode(key, raw)
}

// delete removes the records of sessions. They open nothing here from now on, even where that cannot be confirmed.
func (k *Keeper) delete(ctx context.Context, keys ...string) error {
	names := make([]string, len(keys))
	for i, key := range keys {
		names[i] = recordName(key)
	}
	defer k.Cache.forget(keys...)
	return k.KV.Delete(ctx, names...)
}

// update changes a live session in one atomic step. It never brings back one that was revoked meanwhile.
func (k *Keeper) update(ctx context.Context, key string, change func(*Session) error) (*Session, error) {
	defer k.Cache.forget(key)
	var result *Session
	err := k.KV.Update(ctx, recordName(key), func(raw []byte) ([]byte, time.Duration, error) {
		if raw == nil {
			return nil, 0, ErrNone
		}
		s, err := k.decode(key, raw)
		if err != nil {
			return nil, 0, err
		}
		if err := change(s); err != nil {
			return nil, 0, err
		}
		result = s
		return encodeRecord(s), s.left(k.Now()), nil
	})
	if err != nil {
		return nil, err
	}
	return result, nil
}

func (k *Keeper) decode(key string, raw []byte) (*Session, error) {
	s, err := decodeRecord(raw)
	if err != nil {
		return nil, fmt.Errorf("read session record: %w", err)
	}
	s.Key = key
	if s.Ended(k.Now()) {
		return nil, ErrNone
	}
	return s, nil
}
