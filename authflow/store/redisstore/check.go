package redisstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// Check looks at version, eviction and persistence of the server, or of every master of a Cluster. err says
// why this Redis cannot be used as it is set: it is older than 6.2, or may evict keys. The warnings, one line
// each, say what could be lost, and what the ACL user was not allowed to look at.
func (s *Store) Check(ctx context.Context) (warnings []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	var mu sync.Mutex // a Cluster's masters are looked at side by side
	look := func(ctx context.Context, node *redis.Client) error {
		found, err := checkNode(ctx, node)
		mu.Lock()
		defer mu.Unlock()
		warnings = append(warnings, found...)
		return err
	}
	err = s.eachMaster(ctx, look)
	slices.Sort(warnings)
	return warnings, err
}

// eachMaster calls do for the server, or for every master of a Cluster side by side.
func (s *Store) eachMaster(ctx context.Context, do func(context.Context, *redis.Client) error) error {
	switch client := s.client.(type) {
	case *redis.ClusterClient:
		return client.ForEachMaster(ctx, do)
	case *redis.Client:
		return do(ctx, client)
	default:
		return fmt.Errorf("a client of a kind that is never made: %T", client)
	}
}

func checkNode(ctx context.Context, node *redis.Client) (warnings []string, err error) {
	name := "redis " + node.Options().Addr
	if node.Options().Addr == "FailoverClient" { // what go-redis calls every client of Sentinels
		name = "redis master"
	}
	text, err := node.Info(ctx).Result()
	if refused(err) {
		return []string{fmt.Sprintf("%s: version, maxmemory-policy and persistence could not be checked: allow the user +info (%v)", name, err)}, nil
	}
	if err != nil {
		return nil, fault("check", err)
	}
	config, err := node.ConfigGet(ctx, "save").Result()
	if err != nil && !refused(err) {
		return nil, fault("check", err)
	}
	save, known := config["save"]
	warnings, err = assess(parseInfo(text), save, known)
	for i := range warnings {
		warnings[i] = name + ": " + warnings[i]
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", name, err)
	}
	return warnings, err
}

// refused says whether the server answered, but will not run the command for this user, or at all.
func refused(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply) && (redis.IsPermissionError(err) || redis.HasErrorPrefix(err, "unknown"))
}

// assess judges what INFO says, and the configuration's save where it is known.
func assess(info map[string]string, save string, saveKnown bool) (warnings []string, err error) {
	if version := info["redis_version"]; tooOld(version) {
		return nil, fmt.Errorf("version %q: Redis 6.2 or later is needed", version)
	}
	policy, limit := info["maxmemory_policy"], info["maxmemory"]
	switch {
	case policy == "" || limit == "":
		warnings = append(warnings, "INFO does not say maxmemory-policy: see to it yourself that it is noeviction")
	case policy != "noeviction" && limit != "0":
		return nil, fmt.Errorf("maxmemory-policy is %s, so that sessions and second factors are thrown away when memory is full: set maxmemory-policy noeviction", policy)
	}
	switch {
	case info["aof_enabled"] == "1":
	case saveKnown && save == "":
		warnings = append(warnings, "nothing is kept on disk: a restart loses every enrolment, recovery code and session: set appendonly yes")
	default:
		warnings = append(warnings, "appendonly is off: a crash loses the enrolments and sign-outs since the last snapshot: set appendonly yes")
	}
	return warnings, nil
}

// tooOld says whether version is below 6.2, or none.
func tooOld(version string) bool {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return true
	}
	major, err := strconv.Atoi(parts[0])
	minor, minorErr := strconv.Atoi(parts[1])
	return err != nil || minorErr != nil || major < 6 || major == 6 && minor < 2
}

// parseInfo reads the lines "field:value" of INFO's answer, and passes over all others.
func parseInfo(text string) map[string]string {
	info := map[string]string{}
	for line := range strings.Lines(text) {
		if field, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":"); ok && !strings.HasPrefix(field, "#") {
			info[field] = value
		}
	}
	return info
}
