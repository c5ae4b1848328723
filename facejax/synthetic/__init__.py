"""Pictures of people who do not exist, with every label: training data made by the project itself."""
