// SPDX-License-Identifier: MIT

// Cobra: one command runs the server. SilenceUsage and SilenceErrors, because Run
// has logged its error; ExitCode keeps its status.
package main

import (
	"net/http"
	"os"
	"time"

	"github.com/entrypoint-go/entrypoint/pid1"
	"github.com/spf13/cobra"
)

func main() {
	root := &cobra.Command{Use: "app", SilenceUsage: true, SilenceErrors: true}
	serve := &cobra.Command{Use: "serve", RunE: func(cmd *cobra.Command, _ []string) error {
		srv := &http.Server{Addr: os.Getenv("ADDR"), Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(20 * time.Millisecond)
			w.Write([]byte("done\n"))
		})}
		return pid1.Run(cmd.Context(), srv)
	}}
	root.AddCommand(serve)
	root.RunE = serve.RunE // ENTRYPOINT ["/app"]: what runs without arguments
	pid1.Exit(root.Execute())
}
