// Package portal is the job that all benches run.
package portal

import (
	"strings"
	"time"

	"lake/schemas"
)

// Rules are its three threshold rules, as a job file has them.
const Rules = `rules:
  paid_user:
    sql: SELECT user_id AS user, COUNT(*) AS n FROM events WHERE event = 'Interaction' GROUP BY user_id HAVING n >= 9
  property_status:
    sql: SELECT property_id AS property, COUNT(*) AS n FROM events WHERE event = 'Interaction' GROUP BY property_id HAVING n > 5
  possible_broker:
    sql: SELECT TIMESTAMP_BUCKET(date, INTERVAL 1 MINUTE) AS w, user_id, COUNT(*) AS n FROM events WHERE event = 'Interaction' GROUP BY 1, user_id HAVING n > 10
`

// Topics are those of the rules' answers, without a prefix.
var Topics = []string{"paid_user", "property_status", "possible_broker"}

// RulesTo are the rules with their changes sent to topics of their names, after a prefix.
func RulesTo(prefix string) string {
	rules := Rules
	for _, name := range Topics {
		rules = strings.Replace(rules, "  "+name+":\n", "  "+name+":\n    emit: on_change\n    to: [{kafka: {topic: "+prefix+name+"}}]\n", 1)
	}
	return rules
}

// Columns are those of its events, and the zone of their times.
func Columns() (schemas.Schema, *time.Location, error) {
	const zone, format = "Asia/Kolkata", "%Y-%m-%d %H:%M:%S"
	typed := func(name string, kind schemas.Kind) schemas.Field {
		return schemas.Field{Name: name, Type: schemas.Type{Kind: kind}}
	}
	schema := schemas.Schema{Fields: []schemas.Field{typed("user_id", schemas.Int64), typed("property_id", schemas.Int64), typed("date", schemas.Timestamp), typed("event", schemas.String)}}
	schema.Fields[0].Required, schema.Fields[2].Required = true, true
	schema.Fields[2].Format, schema.Fields[2].Zone = format, zone
	location, err := time.LoadLocation(zone)
	return schema, location, err
}
