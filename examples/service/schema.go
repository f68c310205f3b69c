// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"database/sql"
	"fmt"
)

// schema is what migrate runs, in order. A step that has been released is not
// changed any more: the next change is one more step.
var schema = []string{
	"CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL)",
	"ALTER TABLE notes ADD COLUMN made INTEGER NOT NULL DEFAULT 0",
	"CREATE INDEX notes_made ON notes(made)",
}

// migrateTo runs the steps that the database has not seen, each in a
// transaction of its own: an interruption leaves it between two steps.
func migrateTo(ctx context.Context, db *sql.DB, steps []string) error {
	done, err := version(ctx, db)
	if err != nil {
		return err
	}
	for i := done; i < len(steps); i++ {
		if err := migrateStep(ctx, db, steps[i], i+1); err != nil {
			return fmt.Errorf("step %d of %d: %w", i+1, len(steps), err)
		}
	}
	return nil
}

func migrateStep(ctx context.Context, db *sql.DB, step string, number int) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // after Commit it does nothing
	if _, err := tx.ExecContext(ctx, step); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", number)); err != nil {
		return err
	}
	return tx.Commit()
}

// current is an error unless all steps have run.
func current(ctx context.Context, db *sql.DB) error {
	done, err := version(ctx, db)
	if err != nil {
		return err
	}
	if done != len(schema) {
		return fmt.Errorf("the database is at step %d of %d: run service migrate", done, len(schema))
	}
	return nil
}

// version is how many steps the database has seen.
func version(ctx context.Context, db *sql.DB) (n int, err error) {
	err = db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&n)
	return n, err
}
