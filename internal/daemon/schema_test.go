package daemon

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"dpifd/internal/config"
	"dpifd/internal/event"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// schemaFile is the JSON schema of a log line.
const schemaFile = "../../docs/log.schema.json"

type object = map[string]any

// printed returns an event of a kind with zero values as the log prints it.
func printed(t *testing.T, k *event.Kind) object {
	t.Helper()
	line := object{}
	if _, ok := k.Zero().(event.Lister); ok {
		line = object{"level": k.Level.String(), "ts": "2026-01-01T00:00:00Z", "event": k.Name,
			"schema": float64(schemaVersion)}
		for _, f := range k.Fields() {
			line[f.Name] = 0.0
			if f.Name == "datapath" || f.Name == "port" {
				line[f.Name] = ""
			}
		}
		return line
	}
	var b bytes.Buffer
	log, err := newLogger(&b, logConfig(config.FormatJSON, config.LevelDebug), false)
	if err != nil {
		t.Fatal(err)
	}
	log.emit(k.Zero())
	if err := json.Unmarshal(b.Bytes(), &line); err != nil {
		t.Fatalf("%s: %v in %s", k.Name, err, b.Bytes())
	}
	return line
}

// typeOf is the JSON schema of a value in the log.
func typeOf(v any) object {
	switch v.(type) {
	case string:
		return object{"type": "string"}
	case bool:
		return object{"type": "boolean"}
	case []any:
		return object{"type": "array"}
	case object:
		return object{"type": "object"}
	}
	return object{"type": "integer"}
}

// logSchema generates the schema from the declarations of events.
func logSchema(t *testing.T) []byte {
	t.Helper()
	var names []string
	var rules []object
	for _, k := range event.Kinds() {
		fields, required := object{"level": object{"const": k.Level.String()}}, []string{}
		line := printed(t, k)
		for _, f := range k.Fields() {
			fields[f.Name], required = typeOf(line[f.Name]), append(required, f.Name)
		}
		names = append(names, k.Name)
		rules = append(rules, object{
			"if":   object{"properties": object{"event": object{"const": k.Name}}},
			"then": object{"properties": fields, "required": required},
		})
	}
	schema, err := json.MarshalIndent(object{
		"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "A line of dpifd's log with log.format: json",
		"type": "object", "required": []string{"level", "ts", "event", "schema"},
		"properties": object{
			"level": object{"enum": []string{"DEBUG", "INFO", "WARN", "ERROR"}},
			"ts":    object{"type": "string", "format": "date-time"},
			"event": object{"enum": names}, "schema": object{"const": schemaVersion},
		},
		"allOf": rules,
	}, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return append(schema, '\n')
}

// TestLogSchema: docs/log.schema.json is generated from the declarations. A validator accepts each
// event as the log prints it, and rejects one that lacks a field or has a wrong type.
func TestLogSchema(t *testing.T) {
	want := logSchema(t)
	if *update {
		if err := os.WriteFile(schemaFile, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(have)); diff != "" {
		t.Errorf("%s is out of date; go test ./internal/daemon -update updates it (-want +file):\n%s", schemaFile, diff)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(have))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource("log.schema.json", document); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("log.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range event.Kinds() {
		line := printed(t, k)
		if err := schema.Validate(line); err != nil {
			t.Errorf("%s: %v", k.Name, err)
		}
		for name, value := range line {
			delete(line, name)
			if schema.Validate(line) == nil {
				t.Errorf("%s is valid without %s", k.Name, name)
			}
			line[name] = nil
			if schema.Validate(line) == nil {
				t.Errorf("%s is valid with null for %s", k.Name, name)
			}
			line[name] = value
		}
	}
	if err := schema.Validate(object{"event": strings.Repeat("x", 3)}); err == nil {
		t.Error("an event that is not declared is valid")
	}
}
