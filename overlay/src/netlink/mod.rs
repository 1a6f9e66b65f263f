//! Thin blocking layer over rtnetlink messages, shared by the agent and the plugin.
