// SPDX-License-Identifier: MIT

// Database: database/sql, checked before anything listens and closed after the last
// request. With pgx it is the same: pgxpool.New, pool.Ping, pool.Close.
package main

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/entrypoint-go/entrypoint/pid1"
	_ "modernc.org/sqlite"
)

func main() {
	db, err := sql.Open("sqlite", os.Getenv("DATABASE_URL"))
	if err != nil {
		pid1.Exit(err)
	}
	var app pid1.App
	app.Before("database", db.PingContext)
	app.Shutdown.Defer("database", func(context.Context) error {
		fmt.Println("database closed")
		return db.Close()
	})
	srv := &http.Server{Addr: os.Getenv("ADDR"), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(20 * time.Millisecond)
		var done string
		if err := db.QueryRowContext(r.Context(), "SELECT 'done'").Scan(&done); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprintln(w, done)
	})}
	pid1.Exit(app.Run(context.Background(), srv))
}
