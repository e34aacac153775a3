package store

import "fmt"

// MaxKeyBytes and MaxValueBytes bound what a driver takes; see [KV].
const (
	MaxKeyBytes   = 512
	MaxValueBytes = 1 << 20
)

// CheckKey returns an error where key is empty or longer than [MaxKeyBytes]. Drivers call it before any work.
func CheckKey(key string) error {
	if len(key) == 0 || len(key) > MaxKeyBytes {
		return fmt.Errorf("store: a key of %d bytes: 1 to %d are allowed", len(key), MaxKeyBytes)
	}
	return nil
}

// CheckValue returns an error where value is nil or longer than [MaxValueBytes]. Drivers call it before any work.
func CheckValue(value []byte) error {
	if value == nil {
		return fmt.Errorf("store: a nil value: use Delete, or an empty value")
	}
	if len(value) > MaxValueBytes {
		return fmt.Errorf("store: a value of %d bytes: at most %d are allowed", len(value), MaxValueBytes)
	}
	return nil
}

// CheckRenewals returns an error where one of them names no valid key, or has a head longer than any value. Drivers
// call it before any work.
func CheckRenewals(renewals []Renewal) error {
	for _, r := range renewals {
		if err := CheckKey(r.Key); err != nil {
			return err
		}
		if len(r.Head) > MaxValueBytes {
			return fmt.Errorf("store: a head of %d bytes: at most %d are allowed", len(r.Head), MaxValueBytes)
		}
	}
	return nil
}
