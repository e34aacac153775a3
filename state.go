package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sallyport/authflow/seal"
	"sallyport/authflow/session"
	"sallyport/authflow/store"
	"sallyport/authflow/store/boltstore"
	"sallyport/authflow/store/redisstore"
	"sallyport/config"
)

// openStore is the store with what a driver can say about its own health.
type openStore struct {
	store.KV
	check     func(context.Context) (warnings []string, err error) // nil: Ping says it all
	announcer store.Announcer                                      // nil: this process has the store to itself
}

// open opens the store that the configuration names.
func open(ctx context.Context, cfg *config.Config, log *slog.Logger) (*openStore, error) {
	if cfg.Store.Driver == "embedded" {
		kv, err := boltstore.Open(storeFile(cfg), boltstore.Options{Now: time.Now, Log: log})
		if err != nil {
			return nil, err
		}
		return &openStore{KV: kv}, nil
	}
	c := cfg.Store.Redis
	tlsConfig, err := redisTLS(c.TLS)
	if err != nil {
		return nil, usageError{fmt.Errorf("%s: %w", cfg.Path, err)}
	}
	kv, err := redisstore.Open(ctx, redisstore.Options{
		Addresses: c.Addresses, MasterName: c.MasterName, Cluster: c.Cluster, Username: c.Username, Password: c.Password,
		DB: c.DB, KeyPrefix: c.KeyPrefix, TLS: tlsConfig, Log: log,
		Announced: session.RecordPrefix,
	})
	if err != nil {
		return nil, err
	}
	warnings, err := kv.Check(ctx)
	for _, w := range warnings {
		log.Warn("redis", "warning", w)
	}
	if err != nil {
		log.Error("redis may lose what must not be lost; /readyz says so until it is mended", "error", err)
	}
	return &openStore{KV: kv, check: kv.Check, announcer: kv}, nil
}

func storeFile(cfg *config.Config) string { return filepath.Join(cfg.DataDir, "sallyport.db") }

// keyring derives the keys from the configured secret, or from one that is generated once into data_dir.
func keyring(cfg *config.Config) (*seal.Keyring, error) {
	secret := cfg.SecretKey
	if secret == nil {
		var err error
		if secret, err = generatedKey(filepath.Join(cfg.DataDir, "secret.key")); err != nil {
			return nil, err
		}
	}
	return seal.New(secret, cfg.PreviousSecretKeys...)
}

// generatedKey reads the key file, which it makes where there is none. The file is written whole under
// another name and linked into place, so that of two processes one wins and both read the same key.
func generatedKey(path string) ([]byte, error) {
	for range 2 {
		raw, err := os.ReadFile(path)
		if err == nil {
			secret, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(raw)))
			if err != nil || len(secret) < seal.MinKey {
				return nil, fmt.Errorf("%s: want base64 of %d bytes or more: restore it from a backup; without it no authenticator that is set up can be read", path, seal.MinKey)
			}
			return secret, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read secret key: %w", err)
		}
		if err := makeKey(path); err != nil {
			return nil, fmt.Errorf("make secret key in data_dir: %w", err)
		}
	}
	return nil, fmt.Errorf("%s: was removed while it was read", path)
}

func makeKey(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".secret-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	secret := make([]byte, seal.MinKey)
	rand.Read(secret) // never fails (crypto/rand)
	_, errWrite := f.WriteString(base64.StdEncoding.EncodeToString(secret) + "\n")
	if err := errors.Join(errWrite, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
