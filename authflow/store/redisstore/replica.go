package redisstore

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"sallyport/authflow/store"
)

// replicaTimeout bounds how long a write waits for a replica. One that keeps up acknowledges in little more
// than a round trip. It is also how long one that hangs holds on to a connection of the pool.
const replicaTimeout = 500 * time.Millisecond

// kept is a script that must not be lost once it has written, which it says by returning a number. [keeper]
// reports it as done only when a replica has it, where the server has one.
type kept struct{ once }

// keeper makes one server's client wait for a replica after each command that is [kept]. It sits below the
// client of a Cluster, which picks the server and follows redirections, because WAIT is about what was written
// on its own connection.
type keeper struct{ server *redis.Client }

// keepWrites adds a keeper to every server's client.
func keepWrites(client redis.UniversalClient) {
	add := func(server *redis.Client) { server.AddHook(keeper{server}) }
	switch client := client.(type) {
	case *redis.ClusterClient:
		client.OnNewNode(add)
	case *redis.Client:
		add(client)
	}
}

// DialHook implements [redis.Hook].
func (keeper) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessHook implements [redis.Hook].
func (k keeper) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if write, ok := cmd.(kept); ok {
			return k.keep(ctx, nil, write)
		}
		return next(ctx, cmd)
	}
}

// ProcessPipelineHook implements [redis.Hook]: where a slot of a Cluster is on its way to another server, that one
// is sent ASKING and the command.
func (k keeper) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if write, ok := cmds[len(cmds)-1].(kept); ok {
			return k.keep(ctx, cmds[:len(cmds)-1], write)
		}
		return next(ctx, cmds)
	}
}

// keep sends the write, with what goes before it, and waits for a replica on the same connection. A replica that
// has not been in step yet is none.
func (k keeper) keep(ctx context.Context, before []redis.Cmder, write kept) error {
	conn := k.server.Conn()
	defer conn.Close()
	pipe := conn.Pipeline()
	for _, cmd := range before {
		_ = pipe.Process(ctx, cmd) // queues it
	}
	_ = pipe.Process(ctx, write.Cmd)
	role := pipe.Do(ctx, "role")
	// The write's own error first, by which a Cluster redirects. Where there was no connection, only Exec has one.
	_, err := pipe.Exec(ctx)
	if err := cmp.Or(write.Err(), err); err != nil {
		return err
	}
	if _, written := write.Val().(int64); !written {
		return nil
	}
	replicas, err := replicasOf(role.Val())
	if err != nil || replicas == 0 {
		return err
	}
	acknowledged, err := conn.Do(ctx, "wait", 1, replicaTimeout.Milliseconds()).Int()
	if err != nil {
		return err
	}
	if acknowledged == 0 {
		return fmt.Errorf("%w: %d connected, none acknowledged it within %s", store.ErrUnconfirmed, replicas, replicaTimeout)
	}
	return nil
}

// replicasOf counts the replicas that ROLE lists, each as host, port and the offset that it has acknowledged. At 0
// it has not said yet that it is in step: it may be reading what it was filled with, for minutes.
func replicasOf(role any) (count int, err error) {
	parts, _ := role.([]any)
	if len(parts) != 3 || parts[0] != "master" {
		return 0, fmt.Errorf("written, and then the server is no master: ROLE says %.200v", role)
	}
	listed, ok := parts[2].([]any)
	for _, replica := range listed {
		fields, _ := replica.([]any)
		ok = ok && len(fields) == 3
		if ok && fields[2] != "0" {
			count++
		}
	}
	if !ok {
		return 0, fmt.Errorf("written, and whether replicas have it is not known: ROLE says %.200v", role)
	}
	return count, nil
}
