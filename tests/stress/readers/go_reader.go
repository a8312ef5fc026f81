// Reads a mirror with database/sql: go_reader DATABASE
//
// It is called as docs/sql.md says. tests/support/reader_programs.py has the protocol.
package main

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	_ "github.com/lib/pq"
	_ "github.com/mattn/go-sqlite3"
)

const format = "2006-01-02 15:04:05.000"

type step struct {
	SQL    string
	Values []string
	Bind   string
	Begin  bool
}

type querier interface {
	Query(query string, values ...any) (*sql.Rows, error)
}

var (
	place   map[string]any
	db      *sql.DB
	current querier
)

func open() error {
	var err error
	if file, ok := place["file"]; ok {
		db, err = sql.Open("sqlite3", fmt.Sprintf("file:%s?mode=ro", file))
	} else {
		server := "host=%v port=%v dbname=%v user=%v sslmode=disable timezone=UTC"
		server = fmt.Sprintf(server, place["host"], place["port"], place["database"], place["user"])
		db, err = sql.Open("postgres", server)
	}
	current = db
	return err
}

func begin() error {
	options := &sql.TxOptions{}
	if _, ok := place["file"]; !ok {
		options = &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}
	}
	transaction, err := db.BeginTx(context.Background(), options)
	current = transaction
	return err
}

func bind(text, how string) any {
	moment, err := time.Parse(format, text)
	if err != nil {
		panic(err)
	}
	if _, ok := place["file"]; ok && how != "date" {
		return moment.UTC().Format(format)
	}
	return moment
}

func plain(column *sql.ColumnType, value any) any {
	switch value := value.(type) {
	case time.Time:
		if column.DatabaseTypeName() == "DATE" {
			return value.Format("2006-01-02")
		}
		return value.UTC().Format(format)
	case []byte:
		return string(value)
	default:
		return value
	}
}

func rows(s step) ([]map[string]any, error) {
	if s.Begin {
		if err := begin(); err != nil {
			return nil, err
		}
	}
	query, values := s.SQL, []any{}
	if _, ok := place["file"]; !ok {
		query = strings.ReplaceAll(query, "?", "$1")
	}
	for _, text := range s.Values {
		values = append(values, bind(text, s.Bind))
	}
	found, err := current.Query(query, values...)
	if err != nil {
		return nil, err
	}
	defer found.Close()
	columns, err := found.ColumnTypes()
	result := []map[string]any{}
	for err == nil && found.Next() {
		cells, pointers := make([]any, len(columns)), make([]any, len(columns))
		for i := range cells {
			pointers[i] = &cells[i]
		}
		err = found.Scan(pointers...)
		row := map[string]any{}
		for i, column := range columns {
			row[column.Name()] = plain(column, cells[i])
		}
		result = append(result, row)
	}
	if err == nil {
		err = found.Err()
	}
	return result, err
}

func main() {
	if err := json.Unmarshal([]byte(os.Args[1]), &place); err != nil {
		panic(err)
	}
	if err := open(); err != nil {
		panic(err)
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var s step
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			panic(err)
		}
		answer := map[string]any{}
		if found, err := rows(s); err != nil {
			answer["error"] = err.Error()
		} else {
			answer["rows"] = found
		}
		text, _ := json.Marshal(answer)
		fmt.Println(string(text))
	}
}
