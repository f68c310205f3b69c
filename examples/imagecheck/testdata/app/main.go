// SPDX-License-Identifier: MIT

// Command app imports the library.
package main

import (
	"context"

	"github.com/entrypoint-go/entrypoint/pid1"
)

func main() {
	pid1.Exit(pid1.Run(context.Background(), pid1.Func(func(ctx context.Context) error {
		<-ctx.Done()
		return nil
	})))
}
