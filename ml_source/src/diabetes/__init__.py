"""Predicts the progression of a disease: schema, split, training, evaluation and scoring, and no platform."""
