// SPDX-License-Identifier: MIT

// Asynq: a task queue's worker: no new task is taken, and those that run end.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/entrypoint-go/entrypoint/pid1"
	"github.com/hibiken/asynq"
)

func main() {
	redis := asynq.RedisClientOpt{Addr: os.Getenv("REDIS_ADDR")}
	srv := asynq.NewServer(redis, asynq.Config{LogLevel: asynq.ErrorLevel})
	mux := asynq.NewServeMux()
	mux.HandleFunc("sleep", func(context.Context, *asynq.Task) error {
		fmt.Println("job begins")
		time.Sleep(500 * time.Millisecond)
		fmt.Println("job ends")
		return nil
	})
	worker := pid1.Func(func(ctx context.Context) error {
		if err := srv.Start(mux); err != nil { // not its Run, which takes the signals
			return err
		}
		<-ctx.Done()
		srv.Shutdown() // waits for the tasks, up to Config.ShutdownTimeout
		return nil
	})
	pid1.Exit(pid1.Run(context.Background(), pid1.Named("asynq", worker)))
}
