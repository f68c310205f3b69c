// SPDX-License-Identifier: MIT

package recipes

import (
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/hibiken/asynq"
	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// Work that has begun is done before the program ends.
func TestWorkers(t *testing.T) {
	for _, test := range []struct {
		name    string
		prepare func(t *testing.T) (env string)
		enqueue func(t *testing.T, env string)
	}{
		{name: "cron"},
		{name: "watermill"},
		{name: "asynq", prepare: startRedis, enqueue: func(t *testing.T, env string) {
			client := asynq.NewClient(asynq.RedisClientOpt{Addr: env[len("REDIS_ADDR="):]})
			defer client.Close()
			if _, err := client.Enqueue(asynq.NewTask("sleep", nil)); err != nil {
				t.Fatal(err)
			}
		}},
		{name: "nats", prepare: startNATS, enqueue: func(t *testing.T, env string) {
			conn, err := nats.Connect(env[len("NATS_URL="):])
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(conn.Close)
			// Until the program has subscribed there is nobody to take it.
			go func() {
				for {
					if _, err := conn.Request("sleep", nil, 10*time.Second); err != nats.ErrNoResponders {
						return
					}
				}
			}()
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			env := "NONE="
			if test.prepare != nil {
				env = test.prepare(t)
			}
			p := start(t, test.name, env)
			if test.enqueue != nil {
				test.enqueue(t, env)
			}
			p.awaitLine("job begins")
			p.stop()
			p.wantCleanEnd([]string{"job begins", "job ends"})
		})
	}
}

func startRedis(t *testing.T) string { return "REDIS_ADDR=" + miniredis.RunT(t).Addr() }

func startNATS(t *testing.T) string {
	t.Helper()
	server, err := natsserver.NewServer(&natsserver.Options{Host: "127.0.0.1", Port: -1})
	if err != nil {
		t.Fatal(err)
	}
	go server.Start()
	t.Cleanup(server.Shutdown)
	if !server.ReadyForConnections(time.Minute) {
		t.Fatal("the NATS server does not start")
	}
	return "NATS_URL=" + server.ClientURL()
}
