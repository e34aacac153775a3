package session

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"sallyport/authflow/store"
)

// A person's index is a byte of indexVersion, and then each entry: the 32 bytes of the digest, and a uvarint of twice
// the end in Unix seconds, plus 1 where the session is being ended.
const indexVersion = 1

// indexEntry is one session in a person's index.
type indexEntry struct {
	Key    string
	EndsAt int64 // not negative
	Ended  bool  // its record goes next, and then the entry
}

func indexName(subject string) string { return "u/" + subject }

func (k *Keeper) entries(ctx context.Context, subject string) ([]indexEntry, error) {
	raw, err := k.KV.Get(ctx, indexName(subject))
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	return decodeIndex(raw)
}

// index adds an entry to a person's index and takes one out, drops those that are past their end, and ends the
// oldest session where there are too many.
func (k *Keeper) index(ctx context.Context, subject string, add *indexEntry, remove string) error {
	var dropped []string
	err := k.changeIndex(ctx, subject, func(entries []indexEntry) []indexEntry {
		now := k.Now().Unix()
		entries = slices.DeleteFunc(entries, func(e indexEntry) bool { return e.EndsAt <= now || e.Key == remove })
		if add != nil {
			entries = append(entries, *add)
		}
		dropped = nil
		for len(entries) > MaxPerUser {
			dropped = append(dropped, entries[0].Key)
			entries = entries[1:]
		}
		return entries
	})
	if err != nil {
		return err
	}
	return k.delete(ctx, dropped...)
}

// changeIndex changes a person's index in one atomic step; change may run more than once.
func (k *Keeper) changeIndex(ctx context.Context, subject string, change func([]indexEntry) []indexEntry) error {
	return k.KV.Update(ctx, indexName(subject), func(raw []byte) ([]byte, time.Duration, error) {
		entries, err := decodeIndex(raw)
		if err != nil {
			return nil, 0, err
		}
		next, life := k.encodeIndex(change(entries))
		return next, life, nil
	})
}

// encodeIndex returns the record of an index and its life: nil where it names no session.
func (k *Keeper) encodeIndex(entries []indexEntry) ([]byte, time.Duration) {
	if len(entries) == 0 {
		return nil, 0
	}
	b := append(make([]byte, 0, 1+len(entries)*(sha256.Size+binary.MaxVarintLen64)), indexVersion)
	last := int64(0)
	for _, e := range entries {
		digest, _ := base64.RawURLEncoding.DecodeString(e.Key)
		b = append(b, digest...)
		end := uint64(e.EndsAt) << 1
		if e.Ended {
			end |= 1
		}
		b = binary.AppendUvarint(b, end)
		last = max(last, e.EndsAt)
	}
	return b, time.Duration(last-k.Now().Unix()+1) * time.Second
}

// decodeIndex reads what the store holds, which may be damaged; nil is an index of nobody.
func decodeIndex(raw []byte) ([]indexEntry, error) {
	if raw == nil {
		return nil, nil
	}
	r := &reader{left: raw}
	if version := r.byte(); version != indexVersion {
		r.bad = true
	}
	var entries []indexEntry
	for !r.bad && len(r.left) > 0 {
		digest, end := r.take(sha256.Size), r.uvarint()
		entries = append(entries, indexEntry{
			Key: base64.RawURLEncoding.EncodeToString(digest), EndsAt: int64(end >> 1), Ended: end&1 != 0,
		})
	}
	if r.bad || len(entries) == 0 || len(entries) > MaxPerUser {
		return nil, fmt.Errorf("read session index: %w", errRecord)
	}
	return entries, nil
}
