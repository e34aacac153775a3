package session

import (
	"context"
	"encoding/binary"
	"fmt"

	"sallyport/authflow/store"
)

// Use is when a session was used last, and what it takes to know for how long it lives on: fields of a [Session].
type Use struct {
	Key                     string
	SeenAt, EndsAt, IdleFor int64
}

// Renew writes when many sessions were used last, in a few round trips, and returns the keys of those that are no
// more: it brings none of them back. Of a session that is named twice the later entry counts. The time is written as
// given, an earlier one too, and may be undone where the store loses its master. After an error nothing is known of any
// of them.
func (k *Keeper) Renew(ctx context.Context, used []Use) (gone []string, err error) {
	now := k.Now()
	renewals, keys := make([]store.Renewal, len(used)), make(map[string]string, len(used))
	for i, u := range used {
		s := Session{SeenAt: u.SeenAt, EndsAt: u.EndsAt, IdleFor: u.IdleFor}
		name := recordName(u.Key)
		keys[name] = u.Key
		renewals[i] = store.Renewal{Key: name, Head: encodeSeenAt(u.SeenAt), TTL: s.left(now)}
	}
	missing, err := k.KV.Renew(ctx, renewals)
	if err != nil {
		return nil, fmt.Errorf("note the use of sessions: %w", err)
	}
	for _, name := range missing {
		gone = append(gone, keys[name])
	}
	return gone, nil
}

// encodeSeenAt is the head of a session's record.
func encodeSeenAt(seenAt int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(seenAt)) }
