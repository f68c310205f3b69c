// SPDX-License-Identifier: MIT

// Kratos: its App with all that it runs. Requests in flight end; a request that
// arrives on an idle connection at the moment of the stop may be lost. See
// kratos-handler for its HTTP server without that.
package main

import (
	"context"
	"net/http"
	"os"
	"syscall"
	"time"

	"github.com/entrypoint-go/entrypoint/pid1"
	"github.com/go-kratos/kratos/v2"
	kratoshttp "github.com/go-kratos/kratos/v2/transport/http"
)

func main() {
	srv := kratoshttp.NewServer(kratoshttp.Address(os.Getenv("ADDR")))
	srv.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(20 * time.Millisecond)
		w.Write([]byte("done\n"))
	})
	app := kratos.New(kratos.Server(srv),
		kratos.Signal(syscall.SIGKILL), // none that it can catch: Run takes the signals
		kratos.StopTimeout(time.Hour))  // the grace is what counts
	stop := func(context.Context) error { return app.Stop() }
	pid1.Exit(pid1.Run(context.Background(), pid1.Named("kratos", pid1.Service(app.Run, stop))))
}
