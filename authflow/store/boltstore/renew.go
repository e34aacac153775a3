package boltstore

import (
	"context"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"sallyport/authflow/store"
)

// Renew implements [store.KV]: all of it is one transaction.
func (s *Store) Renew(ctx context.Context, renewals []store.Renewal) (missing []string, err error) {
	if err := store.CheckRenewals(renewals); err != nil || len(renewals) == 0 {
		return nil, err
	}
	var refused error // kept aside, as in Update
	err = s.run(ctx, s.db.Batch, func(tx *bolt.Tx) error {
		missing, refused = nil, nil
		for _, r := range renewals {
			rec, err := s.live(tx, r.Key)
			if err != nil {
				return err
			}
			if rec == nil {
				missing = append(missing, r.Key)
				continue
			}
			if rec[0] != kindValue || len(rec)-headerSize < len(r.Head) {
				refused = fmt.Errorf("%w: a counter, or a value shorter than the head of %d bytes", errKind, len(r.Head))
				continue
			}
			next := valueRecord(rec[headerSize:], s.end(r.TTL))
			copy(next[headerSize:], r.Head)
			if err := write(tx, r.Key, next); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return missing, refused
}
