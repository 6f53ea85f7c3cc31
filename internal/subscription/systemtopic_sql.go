package subscription

import (
	"encoding/json"
	"strings"

	"github.com/dockbell/dockbell/internal/sqldb"
)

const topicColumns = "SELECT registry, name, tags FROM system_topic "

func scanTopic(scan sqldb.Scan) (t SystemTopic, err error) {
	var tags string
	if err := scan(&t.RegistryID, &t.Name, &tags); err != nil {
		return t, err
	}
	return t, json.Unmarshal([]byte(tags), &t.Tags)
}

func selectTopics(tx *sqldb.Tx) ([]SystemTopic, error) {
	return sqldb.Select(tx, scanTopic, topicColumns+"ORDER BY name_key, registry")
}

// selectTopic returns sqldb.ErrNoRow if the registry has none.
func selectTopic(tx *sqldb.Tx, registry int64) (SystemTopic, error) {
	found, err := sqldb.Select(tx, scanTopic, topicColumns+"WHERE registry = $1", registry)
	if err == nil && len(found) == 0 {
		err = sqldb.ErrNoRow
	}
	if err != nil {
		return SystemTopic{}, err
	}
	return found[0], nil
}

// insertTopic reports false if the registry has one, or the group one of the name.
func insertTopic(tx *sqldb.Tx, group string, t SystemTopic) (bool, error) {
	tags, err := tagsToJSON(t.Tags)
	if err != nil {
		return false, err
	}
	n, err := tx.Exec("INSERT INTO system_topic (registry, resource_group, name_key, name, tags) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
		t.RegistryID, group, strings.ToLower(t.Name), t.Name, tags)
	return n == 1, err
}

func updateTopic(tx *sqldb.Tx, t SystemTopic) error {
	tags, err := tagsToJSON(t.Tags)
	if err != nil {
		return err
	}
	_, err = tx.Exec("UPDATE system_topic SET tags = $2 WHERE registry = $1", t.RegistryID, tags)
	return err
}

func deleteTopic(tx *sqldb.Tx, registry int64) error {
	_, err := tx.Exec("DELETE FROM system_topic WHERE registry = $1", registry)
	return err
}

// tagsToJSON encodes tags; none are null.
func tagsToJSON(tags map[string]string) (string, error) {
	text, err := json.Marshal(tags)
	return string(text), err
}
