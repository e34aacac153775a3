package session

import (
	"context"
	"errors"
)

type Use struct {
	Key                     string
	SeenAt, EndsAt, IdleFor int64
}

func (k *Keeper) Renew(ctx context.Context, used []Use) (gone []string, err error) {
	for _, u := range used {
		_, err := k.update(ctx, u.Key, func(s *Session) error { s.SeenAt = max(s.SeenAt, u.SeenAt); return nil })
		if errors.Is(err, ErrNone) {
			gone = append(gone, u.Key)
		} else if err != nil {
			return nil, err
		}
	}
	return gone, nil
}
